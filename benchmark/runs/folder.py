"""Run folders: an append-only event log, atomic whole-file writes, one owner at a time.

<results>/<suite>/runs/<task>/<method>/<seed>/
    run.json        what was run, on what, with which versions
    events.jsonl    one record per line; see `benchmark.runs.log`
    artifacts/      sample grids of the incumbents
    trials/         folders of the trials, of tasks that leave files there
    checkpoint.pt   the last resumable state of a single-run method
    heartbeat.json  last sign of life, rewritten about once a second
    error.txt       traceback of a failed run
    output.txt      what the method printed
    hang.txt        why and where a session was ended by its watchdog; else empty or absent
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.errors import UserError
from benchmark.files import TEMPORARY, BadResults, plain, read_bytes, write_atomic
from benchmark.runs.log import Record, last_session, parse_log

LOCK_TIMEOUT = 1.0
"""Seconds to wait for a lock: a reader who asks for the status holds it for a moment."""


class Busy(UserError):
    """Another process owns the run folder."""


class RunFolder:
    """One run's folder. Reading needs no lock; writing happens inside `owned()`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = path / "run.json"
        self.log = path / "events.jsonl"
        self.artifacts = path / "artifacts"
        self.trials = path / "trials"
        self.checkpoint = path / "checkpoint.pt"
        self.heartbeat = path / "heartbeat.json"
        self.error = path / "error.txt"
        self.output = path / "output.txt"
        self.hang = path / "hang.txt"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the folder; raises Busy if another process does.

        The lock belongs to the operating system and ends with the process, however it ends.
        """
        self.artifacts.mkdir(parents=True, exist_ok=True)
        for path in (self.path, *self.path.iterdir()):
            if path.is_symlink():
                raise BadResults(f"{path} is a link: a run writes plain files only")
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=LOCK_TIMEOUT)
        except Timeout:
            raise Busy(f"{self.path} is in use by another process") from None
        try:
            yield
        finally:
            lock.release()

    def is_owned(self) -> bool:
        """Whether a process owns the folder right now."""
        if not (self.path / ".lock").exists():
            return False
        try:
            with FileLock(self.path / ".lock").acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a read-only folder: nobody can own it
            return False

    def events(self) -> list[Record]:
        """All whole records; a torn end is left out. Raises BadResults."""
        return self._parsed()[0]

    def _parsed(self) -> tuple[list[Record], int]:
        try:
            return parse_log(read_bytes(self.log), self.log)
        except FileNotFoundError:
            return [], 0

    def mend(self) -> list[Record]:
        """Clear away what a crash left: a torn end of the log, half-written files, and a session
        that its watchdog ended without a record in the log. Returns the records of the log."""
        events, length = self._parsed()
        if self.log.exists():
            os.truncate(self.log, length)
        for folder in (self.path, self.artifacts):
            for file in folder.glob(f".*{TEMPORARY}"):
                file.unlink()
        reason = self.hung()  # before this session begins one of its own
        if reason and last_session(events).get("kind") == "start":
            write_atomic(self.error, read_bytes(self.hang))
            events.append({"kind": "end", "status": "failed", "reason": reason})
            self.append(events[-1])
        self.hang.unlink(missing_ok=True)
        return events

    def hung(self) -> str:
        """Reason for which its watchdog ended the last session, or nothing."""
        try:
            reason = plain(read_bytes(self.hang).decode(errors="replace").partition("\n")[0])
        except FileNotFoundError:
            return ""
        late = "did not end within its hard limit, nor let go of the interpreter"
        return late if reason.startswith("Timeout") else reason  # faulthandler's own heading

    def append(self, record: Record) -> None:
        """Append one record and force it to disk; a record that does not fit leaves no part."""
        line = json.dumps(record, allow_nan=False) + "\n"
        with open(self.log, "ab", buffering=0) as file:
            length = file.tell()
            try:
                if file.write(line.encode()) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(length)
                raise OSError(error.errno, error.strerror, str(self.log)) from None

    def discard(self) -> None:
        """Delete the folder: all of it or, whatever happens meanwhile, nothing that counts."""
        if self.path.exists():
            doomed = f".{self.path.name}.{uuid.uuid4().hex}{TEMPORARY}"
            os.replace(self.path, self.path.with_name(doomed))
        for doomed_folder in self.path.parent.glob(f".{self.path.name}.*{TEMPORARY}"):
            shutil.rmtree(doomed_folder)


def ending(
    folder: RunFolder, events: list[Record] | None = None, mine: bool = False
) -> tuple[str, str]:
    """Status of a run (`finished`, `failed`, `interrupted`, `running` or `missing`) and the reason
    of its end. Raises BadResults.

    `events` are the folder's, for those who have read them; `mine` says that the caller owns it.
    """
    last = last_session(folder.events() if events is None else events)
    if not last:
        return "missing", ""
    if last["kind"] == "end":
        return str(plain(last.get("status"))), str(plain(last.get("reason", "")))
    if last["kind"] == "retry":
        return "interrupted", "to be tried again"
    if not mine and folder.is_owned():
        return "running", ""
    reason = folder.hung()
    return ("failed", reason) if reason else ("interrupted", "process died without a final record")
