"""A suite's stored runs: run folders, or one packed file.

Both may come from a stranger: names, links and sizes are checked, nothing is executed.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.files import LARGEST_FILE, LARGEST_PICTURE, TEMPORARY, BadResults, read_bytes
from benchmark.runs.description import parse_description
from benchmark.runs.design import DESIGN, Design, Pairs, planned, read_design
from benchmark.runs.folder import RunFolder, ending
from benchmark.runs.log import Record, parse_log

MIB = 2**20
LARGEST = {"run.json": MIB, "events.jsonl": LARGEST_FILE, "error.txt": MIB}
"""Files that are read of a run, and their largest size in bytes."""
SAMPLES = re.compile(r"samples-([0-9]{1,9})\.png")
"""Sample grids in `artifacts/`, by number of trial or report."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of folders that hold results: nothing that means something to a shell or terminal."""
DEEPEST = 8
"""Levels below `runs/` at which a run may lie."""
PACKED = ".parquet"
FRAME = "frame.parquet"
"""File in a suite's folder: the frame, for other programs too, and the rows of `Study.runs`."""


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


class StoredRun(ABC):
    """One run. `where` names it in messages, `place` is `<task>/<label>/<seed>`."""

    where: Path
    place: PurePosixPath

    @abstractmethod
    def names(self) -> list[str]:
        """Names of the files of `LARGEST` that it has, and of its sample grids in order, as
        `artifacts/NAME`."""

    @abstractmethod
    def content(self, name: str, first: int | None = None) -> bytes:
        """A file, or its `first` bytes. Raises FileNotFoundError and BadResults."""

    @abstractmethod
    def ending(self, events: list[Record]) -> tuple[str, str]:
        """Status and its reason; see `runs.folder.ending`."""

    def description(self) -> dict[str, Any] | None:
        """The content of `run.json`, or None if there is none. Raises BadResults."""
        try:
            return parse_description(self.content("run.json"), self.where / "run.json")
        except FileNotFoundError:
            return None

    def events(self) -> list[Record]:
        """All whole records of the log; a torn end is left out. Raises BadResults."""
        try:
            return parse_log(self.content("events.jsonl"), self.where / "events.jsonl")[0]
        except FileNotFoundError:
            return []

    def grids(self) -> list[str]:
        """Names of the sample grids in order."""
        return [name for name in self.names() if name.startswith("artifacts/")]


class StoredSuite(ABC):
    """All runs of a suite in a stable order, with its plan and its design."""

    path: Path
    folder: Path
    """Folder of its tables and figures."""
    planned: Pairs
    design: Design | None
    runs: Sequence[StoredRun]

    @abstractmethod
    def stamp(self) -> str:
        """Changes whenever a log may have changed, and is never that of a copy."""


class FolderRun(StoredRun):
    """A run in a folder of its own."""

    def __init__(self, folder: RunFolder, place: PurePosixPath) -> None:
        self.run, self.where, self.place = folder, folder.path, place

    def names(self) -> list[str]:
        found = os.listdir(self.where)
        grids: list[str] = []
        if "artifacts" in found:
            grids = sorted(filter(SAMPLES.fullmatch, os.listdir(self.run.artifacts)))
        return [name for name in LARGEST if name in found] + [f"artifacts/{name}" for name in grids]

    def content(self, name: str, first: int | None = None) -> bytes:
        return read_bytes(self.where / name, LARGEST.get(name, LARGEST_PICTURE), first)

    def ending(self, events: list[Record]) -> tuple[str, str]:
        return ending(self.run, events)


class FolderSuite(StoredSuite):
    """A suite's folder with `runs/` in it. Raises BadResults for links and foreign names."""

    def __init__(self, path: Path) -> None:
        self.path = self.folder = path
        self.runs: list[FolderRun] = []
        for folder, folders, files in without_links(path):
            parent, *place = PurePosixPath(folder).relative_to(path).parts or ("",)
            if parent != "runs":
                continue
            if not {"run.json", "events.jsonl"}.isdisjoint(files):
                self.runs.append(FolderRun(RunFolder(Path(folder)), PurePosixPath(*place)))
                folders.clear()
                continue
            folders[:] = [name for name in folders if not _is_being_deleted(name)]
            for name in folders:
                if not NAME.fullmatch(name) or len(place) >= DEEPEST:
                    where = os.path.join(folder, name)
                    raise BadResults(f"{where!r} is no folder of a task, a method or a seed")
        self.planned = planned(path)
        self.design = read_design(path) if (path / DESIGN).exists() else None

    def stamp(self) -> str:
        digest = hashlib.sha256()
        for run in self.runs:
            for file in (run.run.description, run.run.log, run.run.artifacts, run.run.hang):
                digest.update(f"{run.place} {file.name} {identity(file)}\n".encode())
        return digest.hexdigest()


def without_links(root: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` in order, which raises BadResults for a link and OSError for a folder that cannot
    be read: nothing outside the folder is ever read, or written through a link."""
    try:
        with os.scandir(root) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:  # deleted meanwhile
        return
    if links := [entry.path for entry in entries if entry.is_symlink()]:
        raise BadResults(f"{links[0]!r} is a link: results are plain files and folders")
    folders = [entry.name for entry in entries if entry.is_dir()]
    yield os.fspath(root), folders, [entry.name for entry in entries if not entry.is_dir()]
    for name in folders:
        yield from without_links(os.path.join(root, name))


def _is_being_deleted(name: str) -> bool:
    return name.startswith(".") and name.endswith(TEMPORARY)


def identity(path: Path) -> str:
    """Which file it is and when it changed: a copy, or a file out of an archive, has another inode
    and another time of change, which nobody can choose."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return "none"
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def open_suite(path: Path) -> StoredSuite:
    """A suite's folder, a packed suite, or, of a folder without runs, the packed suite beside it or
    the only one in it.

    Raises BadResults and FileNotFoundError.
    """
    packed = path if path.name.endswith(PACKED) else path.with_name(path.name + PACKED)
    if not packed.is_file():
        inside = [file for file in path.glob("*" + PACKED) if file.name != FRAME]
        packed = inside[0] if len(inside) == 1 else packed
    if packed.is_file() and not (path / "runs").is_dir():
        from benchmark.study.pack import PackedSuite  # needs pyarrow, which takes long to import

        return PackedSuite(packed)
    return FolderSuite(path)


def locate(results: Path, suite: str) -> Path:
    """Path of the results of a suite. `results` is the folder of all suites' results, or itself a
    suite's folder or a packed suite."""
    if results.is_file() or (results / "runs").is_dir():
        return results
    return results / Path(suite).name.removesuffix(".toml")
