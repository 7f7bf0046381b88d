"""Run folders: an append-only event log, atomic whole-file writes, one owner at a time.

    <results>/<suite>/runs/<task>/<method>/<seed>/
        run.json        what was run, on what, with which versions
        events.jsonl    one record per line; see below
        artifacts/      sample grids of the incumbents
        checkpoint.pt   the last resumable state of a single-run method
        heartbeat.json  last sign of life, rewritten about once a second
        error.txt       traceback of a failed run

Records: `start` and `end` frame a session of the run; `trial`, `report` and `final` carry
parameters, scores, reported metrics and a clock snapshot; `unfinished` is a trial that the
budget cut short; `rewind` says that the log goes on after its first `to` recorded steps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

Record = dict[str, Any]
STEPS = ("trial", "report")
"""Records that a method's calls produced, in order: what a resumed run replays."""


LOCK_TIMEOUT = 1.0
"""Seconds to wait for a lock: a reader who asks for the status holds it for a moment."""


class Busy(RuntimeError):
    """Another process owns the run folder."""


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file so that a reader or a crash never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The parsed file, or None if there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def parse_events(lines: Iterable[bytes]) -> Iterator[Record]:
    """Records of a log, skipping a torn last line."""
    for line in lines:
        if not line.endswith(b"\n"):
            return
        yield json.loads(line)


def effective_steps(records: Iterable[Record]) -> list[Record]:
    """The trials and reports that count: those not dropped by a later rewind."""
    steps: list[Record] = []
    for record in records:
        if record["kind"] in STEPS:
            steps.append(record)
        elif record["kind"] == "rewind":
            del steps[record["to"] :]
    return steps


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
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the folder; raises Busy if another process does.

        The lock belongs to the operating system and ends with the process, however it ends.
        """
        self.artifacts.mkdir(parents=True, exist_ok=True)
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
        """All whole records; a torn last line is left out."""
        try:
            with open(self.log, "rb") as file:
                return list(parse_events(file))
        except FileNotFoundError:
            return []

    def mend(self) -> None:
        """Cut a torn last line off the log, so that the next record starts on its own."""
        if not self.log.exists():
            return
        with open(self.log, "rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)

    def append(self, record: Record) -> None:
        """Append one record and force it to disk."""
        line = json.dumps(record, allow_nan=False) + "\n"
        with open(self.log, "ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


def run_folder(results: Path, suite: str, task: str, method: str, seed: int) -> RunFolder:
    return RunFolder(results / suite / "runs" / task / method / str(seed))


def run_folders(suite_folder: Path) -> list[RunFolder]:
    """All run folders of a suite that have been described, in a stable order."""
    return [RunFolder(path.parent) for path in sorted((suite_folder / "runs").rglob("run.json"))]


def status(folder: RunFolder) -> str:
    """`finished`, `failed`, `interrupted`, `running`, or `missing`."""
    events = folder.events()
    sessions = [record for record in events if record["kind"] in ("start", "end")]
    if not sessions:
        return "missing"
    if sessions[-1]["kind"] == "end":
        return str(sessions[-1]["status"])
    return "running" if folder.is_owned() else "interrupted"
