"""A suite's stored runs: run folders, or one packed file.

Both may come from a stranger: names, links and sizes are checked, nothing is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.files import LARGEST_FILE, LARGEST_PICTURE, REMEDY, BadResults, read_bytes
from benchmark.runs.description import checked
from benchmark.runs.design import DESIGN, Design, read_design
from benchmark.runs.folder import (
    Record,
    RunFolder,
    ending,
    parse_events,
    planned,
    refuse_links,
    run_folders,
)

MIB = 2**20
LARGEST = {"run.json": MIB, "events.jsonl": LARGEST_FILE, "error.txt": MIB}
"""Files that are read of a run, and their largest size in bytes."""
SAMPLES = re.compile(r"samples-([0-9]{1,9})\.png")
"""Sample grids in `artifacts/`, by number of trial or report."""
PACKED = ".parquet"


class StoredRun(ABC):
    """One run. `where` names it in messages, `place` is `<task>/<label>/<seed>`."""

    where: Path
    place: PurePosixPath

    @abstractmethod
    def names(self) -> list[str]:
        """Names of the files of `LARGEST` that it has, and of its sample grids in order, as
        `artifacts/NAME`. Raises BadResults for links."""

    @abstractmethod
    def content(self, name: str, first: int | None = None) -> bytes:
        """A file, or its `first` bytes. Raises FileNotFoundError and BadResults."""

    @abstractmethod
    def ending(self, events: list[Record]) -> tuple[str, str]:
        """Status and its reason; see `runs.folder.ending`."""

    def description(self) -> dict[str, Any] | None:
        """The content of `run.json`, or None if there is none. Raises BadResults."""
        file = self.where / "run.json"
        try:
            found = json.loads(self.content("run.json"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            if isinstance(error, BadResults):
                raise
            raise BadResults(f"{file} is damaged ({error}); {REMEDY}") from None
        return checked(found, file)

    def events(self) -> list[Record]:
        """All whole records of the log; a torn end is left out. Raises BadResults."""
        log = self.where / "events.jsonl"
        try:
            return parse_events(self.content("events.jsonl"))[0]
        except FileNotFoundError:
            return []
        except ValueError as error:
            if isinstance(error, BadResults):
                raise
            raise BadResults(f"{log} is damaged at {error}; {REMEDY}") from None

    def grids(self) -> list[str]:
        """Names of the sample grids in order."""
        return [name for name in self.names() if name.startswith("artifacts/")]


class StoredSuite(ABC):
    """All runs of a suite, with its plan and its design."""

    path: Path
    folder: Path
    """Folder of its tables and figures."""
    planned: tuple[tuple[str, str], ...]
    design: Design | None

    @abstractmethod
    def runs(self) -> Iterator[StoredRun]:
        """Its runs in a stable order. Raises BadResults."""

    @abstractmethod
    def stamp(self) -> str:
        """Changes whenever a log may have changed, and is never that of a copy."""


class FolderRun(StoredRun):
    """A run in a folder of its own."""

    def __init__(self, folder: RunFolder, place: PurePosixPath) -> None:
        self.run, self.where, self.place = folder, folder.path, place

    def names(self) -> list[str]:
        found = []
        with os.scandir(self.where) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise BadResults(f"{entry.path} is a link: results are plain files and folders")
                found.append(entry.name)
        grids: list[str] = []
        if "artifacts" in found:
            grids = sorted(filter(SAMPLES.fullmatch, os.listdir(self.run.artifacts)))
        return [name for name in LARGEST if name in found] + [f"artifacts/{name}" for name in grids]

    def content(self, name: str, first: int | None = None) -> bytes:
        return read_bytes(self.where / name, LARGEST.get(name, LARGEST_PICTURE), first)

    def ending(self, events: list[Record]) -> tuple[str, str]:
        return ending(self.run, events)


class FolderSuite(StoredSuite):
    """A suite's folder with `runs/` in it."""

    def __init__(self, path: Path) -> None:
        refuse_links(path)
        self.path = self.folder = path
        self.planned = planned(path)
        self.design = read_design(path) if (path / DESIGN).exists() else None

    def runs(self) -> Iterator[FolderRun]:
        root = self.path / "runs"
        for run in run_folders(self.path):
            yield FolderRun(run, PurePosixPath(run.path.relative_to(root).as_posix()))

    def stamp(self) -> str:
        digest = hashlib.sha256()
        for run in run_folders(self.path):
            for file in (run.description, run.log, run.artifacts, run.hang):
                digest.update(f"{file.relative_to(self.path)} {identity(file)}\n".encode())
        return digest.hexdigest()


def identity(path: Path) -> str:
    """Which file it is and when it changed: a copy, or a file out of an archive, has another inode
    and another time of change, which nobody can choose."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return "none"
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def open_suite(path: Path) -> StoredSuite:
    """A suite's folder, a packed suite, or the packed suite beside a folder without runs.

    Raises BadResults and FileNotFoundError.
    """
    packed = path if path.name.endswith(PACKED) else path.with_name(path.name + PACKED)
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
