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
import re
import stat
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


LARGEST_FILE = 2**28
"""Bytes of the largest file that is read: a run of 10,000 trials writes 2 % of that."""
DEEPEST = 8
"""Levels below `runs/` at which a run may lie."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of folders that hold results: nothing that means something to a shell or terminal."""


class BadResults(ValueError):
    """A results folder that holds what no run writes; the message says what and where.

    Results may come from somebody else: links, foreign names and sizes are refused, not repaired.
    """


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


def read_bytes(path: Path) -> bytes:
    """A whole plain file. Raises BadResults for a link, a device or a file beyond all sense."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError:
        if path.is_symlink():
            raise BadResults(f"{path} is a link: results are plain files") from None
        raise
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BadResults(f"{path} is not a file")
        if found.st_size > LARGEST_FILE:
            raise BadResults(
                f"{path} has {found.st_size / 2**20:.0f} MiB, more than the "
                f"{LARGEST_FILE / 2**20:.0f} MiB that are read"
            )
        return file.read()


def read_json(path: Path) -> Any:
    """The parsed file, or None if there is none."""
    try:
        return parse(read_bytes(path), path)
    except FileNotFoundError:
        return None


CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""Characters that move a cursor, colour a terminal, turn text round, or are none."""


def plain(value: Any) -> Any:
    """A stored value whose strings, at any depth, can be shown on a terminal or a page."""
    if isinstance(value, str):
        return CONTROL.sub("\ufffd", value)
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def parse(text: bytes, path: Path) -> Any:
    """JSON from the file at `path`. Raises BadResults."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadResults(f"{path}: not JSON: {error}") from None


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
        """All whole records; a torn last line is left out."""
        log = self._whole_lines()
        # In one go: a call per line takes twice as long.
        records: list[Record] = parse(b"[" + log.replace(b"\n", b",") + b"]", self.log)
        return records

    def last_event(self) -> Record | None:
        """The last whole record, without parsing those before it."""
        last = self._whole_lines().rpartition(b"\n")[2]
        record: Record | None = parse(last, self.log) if last else None
        return record

    def _whole_lines(self) -> bytes:
        try:
            content = read_bytes(self.log)
        except FileNotFoundError:
            return b""
        return content[: max(content.rfind(b"\n"), 0)]

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
    """All run folders of a suite that have been described, in a stable order.

    Raises BadResults for links and foreign names: nothing outside the folder is ever read.
    """
    return [RunFolder(path) for path in sorted(_described(suite_folder / "runs", DEEPEST))]


def refuse_links(suite_folder: Path) -> None:
    """Raise BadResults for a link outside `runs/`: tables or figures would be written through."""
    for folder, folders, files in os.walk(suite_folder):
        for name in (*folders, *files):
            if (path := Path(folder, name)).is_symlink():
                raise BadResults(f"{str(path)!r} is a link: results are plain files and folders")
        if Path(folder) == suite_folder and "runs" in folders:
            folders.remove("runs")


def _described(folder: Path, depth: int) -> Iterator[Path]:
    if folder.is_symlink():
        raise BadResults(f"{str(folder)!r} is a link: results are plain files and folders")
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    if any(entry.name == "run.json" for entry in found):
        yield folder
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False) or entry.is_symlink():
            if not NAME.fullmatch(entry.name) or depth == 0:
                raise BadResults(f"{entry.path!r} is no folder of a task, a method or a seed")
            yield from _described(folder / entry.name, depth - 1)


def status(folder: RunFolder, last: Record | None = None) -> str:
    """`finished`, `failed`, `interrupted`, `running`, or `missing`.

    `last` is the folder's last event, for those who have read it.
    """
    last = last or folder.last_event()
    if last is None:
        return "missing"
    if last["kind"] == "end":
        return str(last["status"])
    return "running" if folder.is_owned() else "interrupted"
