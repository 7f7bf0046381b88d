"""Run folders: an append-only event log, atomic whole-file writes, one owner at a time.

    <results>/<suite>/runs/<task>/<method>/<seed>/
        run.json        what was run, on what, with which versions
        events.jsonl    one record per line; see below
        artifacts/      sample grids of the incumbents
        checkpoint.pt   the last resumable state of a single-run method
        heartbeat.json  last sign of life, rewritten about once a second
        error.txt       traceback of a failed run
        output.txt      what the method printed
        hang.txt        why and where a session was ended by its watchdog; else empty or absent

Records: `start` and `end` frame a session of the run; `trial`, `report` and `final` carry
parameters, scores, reported metrics and a clock snapshot; `unfinished` is a trial that the
budget cut short; `rewind` says that the log continues after its first `to` recorded steps; `retry`
says that a failed run is to be tried again.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.files import (
    REMEDY,
    TEMPORARY,
    BadResults,
    plain,
    read_bytes,
    read_json,
    write_atomic,
)

Record = dict[str, Any]
PLAN = "plan.json"
"""File in a suite's folder: the pairs [task, label] that were asked for."""
STEPS = ("trial", "report")
"""Records that a method's calls produced, in order: what a resumed run replays."""
SESSION = ("start", "end", "retry")

LOCK_TIMEOUT = 1.0
"""Seconds to wait for a lock: a reader who asks for the status holds it for a moment."""
DEEPEST = 8
"""Levels below `runs/` at which a run may lie."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of folders that hold results: nothing that means something to a shell or terminal."""


class Busy(RuntimeError):
    """Another process owns the run folder."""


def parse_events(content: bytes) -> tuple[list[Record], int]:
    """Records of a log, and the length of the part they stand in.

    What a crash can leave at the end (half a line, a block of zeros) is not part of it. Raises
    ValueError, with the line's number, for anything else that is not a record.
    """
    length = content.rfind(b"\n") + 1
    lines = content[:length].splitlines(keepends=True)
    with suppress(ValueError, RecursionError):
        # In one go: a call per line takes twice as long.
        records = json.loads(b"[" + b",".join(lines) + b"]")
        if len(records) == len(lines) and all(map(_is_record, records)):
            return records, length
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not _is_record(record):
                raise ValueError("not a record")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                return records, length - len(line)
            raise ValueError(f"line {number}: {error}") from None
        records.append(record)
    return records, length


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("kind"), str)


def effective_steps(records: Iterable[Record]) -> list[Record]:
    """The trials and reports that count: those not dropped by a later rewind."""
    steps: list[Record] = []
    for record in records:
        if record["kind"] in STEPS:
            steps.append(record)
        elif record["kind"] == "rewind":
            del steps[record["to"] :]
    return steps


def last_clock(records: Sequence[Record]) -> Record | None:
    """The newest snapshot of the clock: what has been charged so far, and what else was spent."""
    return next((record["clock"] for record in reversed(records) if "clock" in record), None)


@dataclass(frozen=True)
class RunFolder:
    """One run's folder. Reading needs no lock; writing happens inside `owned()`."""

    path: Path

    @property
    def log(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def description(self) -> Path:
        return self.path / "run.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def heartbeat(self) -> Path:
        return self.path / "heartbeat.json"

    @property
    def error(self) -> Path:
        return self.path / "error.txt"

    @property
    def output(self) -> Path:
        return self.path / "output.txt"

    @property
    def hang(self) -> Path:
        return self.path / "hang.txt"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

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
        lock = FileLock(self.path / ".lock")
        try:
            with lock.acquire(timeout=0):
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
            return parse_events(read_bytes(self.log))
        except FileNotFoundError:
            return [], 0
        except BadResults:
            raise
        except ValueError as error:
            raise BadResults(f"{self.log} is damaged at {error}; {REMEDY}") from None

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
        if reason and _last_session(events).get("kind") == "start":
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
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.log))
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


def run_folder(results: Path, suite: str, task: str, method: str, seed: int) -> RunFolder:
    return RunFolder(results / suite / "runs" / task / method / str(seed))


def planned(suite_folder: Path) -> tuple[tuple[str, str], ...]:
    """The pairs of task and label that were asked for, in the order of the suite. Raises BadResults
    for a damaged plan."""
    path = suite_folder / PLAN
    try:
        return as_pairs(read_json(path) or [])
    except TypeError as error:
        raise BadResults(f"{path} is damaged: {error}; delete it") from None


def as_pairs(value: Any) -> tuple[tuple[str, str], ...]:
    """A stored plan. Raises TypeError for anything else."""
    if not isinstance(value, list) or not all(map(_is_pair, value)):
        raise TypeError("not a list of [task, method]")
    return tuple((task, label) for task, label in value)


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(name, str) for name in value)
    )


def run_folders(suite_folder: Path) -> list[RunFolder]:
    """All run folders of a suite that hold anything, in a stable order.

    Raises BadResults for links and foreign names: nothing outside the folder is ever read.
    """
    runs = suite_folder / "runs"
    if runs.is_symlink():
        raise BadResults(f"{str(runs)!r} is a link: results are plain files and folders")
    return [RunFolder(Path(path)) for path in _begun(str(runs), DEEPEST)]


class NoRuns(FileNotFoundError):
    """A suite folder without runs; the message names the suites beside it that have some."""

    def __init__(self, suite_folder: Path) -> None:
        beside = sorted(path.parent.name for path in suite_folder.parent.glob("*/runs"))
        near = get_close_matches(suite_folder.name, beside, n=1)
        hint = "start some with: benchmark run"
        if beside:
            hint = f"{suite_folder.parent} has runs of {', '.join(beside)}"
        if near:
            hint = f"did you mean {near[0]!r}?"
        super().__init__(f"{suite_folder} holds no runs; {hint}")


def refuse_links(suite_folder: Path) -> None:
    """Raise BadResults for a link outside `runs/`: tables or figures would be written through."""
    for folder, folders, files in os.walk(suite_folder):
        for name in (*folders, *files):
            if (path := Path(folder, name)).is_symlink():
                raise BadResults(f"{str(path)!r} is a link: results are plain files and folders")
        if Path(folder) == suite_folder and "runs" in folders:
            folders.remove("runs")


def _begun(folder: str, depth: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    if any(entry.name in ("run.json", "events.jsonl") for entry in found):
        yield folder
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False) or entry.is_symlink():
            if entry.name.startswith(".") and entry.name.endswith(TEMPORARY):
                continue  # being deleted
            if not NAME.fullmatch(entry.name) or depth == 0:
                raise BadResults(f"{entry.path!r} is no folder of a task, a method or a seed")
            if entry.is_symlink():
                raise BadResults(f"{entry.path!r} is a link: results are plain files and folders")
            yield from _begun(entry.path, depth - 1)


def status(folder: RunFolder) -> str:
    """`finished`, `failed`, `interrupted`, `running`, or `missing`. Raises BadResults."""
    return ending(folder)[0]


def ending(
    folder: RunFolder, events: list[Record] | None = None, mine: bool = False
) -> tuple[str, str]:
    """Status of a run, and why it ended so. Raises BadResults.

    `events` are the folder's, for those who have read them; `mine` says that the caller owns it.
    """
    last = _last_session(folder.events() if events is None else events)
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


def _last_session(events: list[Record]) -> Record:
    """The last record about sessions; empty if there is none."""
    sessions = (record for record in reversed(events) if record["kind"] in SESSION)
    return next(sessions, {})
