"""Joins result folders made on different machines, which may come from strangers.

Everything is checked before anything is written: names, sizes, links, and whether the same run
or task means the same thing in all of them. Only text and pictures are copied, nothing that
would be executed or unpickled: checkpoints stay behind, so a merged run that was not finished
starts over from its log.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.files import LARGEST_FILE, BadResults, read_bytes, write_atomic, write_json
from benchmark.runs.description import SCHEMA_VERSION
from benchmark.runs.design import DESIGN, combined, read_design
from benchmark.runs.folder import PLAN, RunFolder, planned, run_folders, status
from benchmark.study.results import load

SEED = re.compile(r"0|[1-9][0-9]{0,9}")
SAMPLES = re.compile(r"samples-[0-9]{1,9}\.png")
PNG = b"\x89PNG\r\n\x1a\n"
MIB = 2**20
LARGEST = {"run.json": MIB, "events.jsonl": LARGEST_FILE, "error.txt": MIB}
"""Files of a run that are copied, and their largest size in bytes; `run.json` must be there."""
LARGEST_PICTURE, MOST_PICTURES = 16 * MIB, 10000
MOST_RUNS = 100000


class MergeError(ValueError):
    """The folders cannot be joined; the message says which file or run, and why."""


@dataclass(frozen=True)
class Run:
    """One checked run of a result folder."""

    path: Path
    place: PurePosixPath
    """`<task>/<method>/<seed>`."""
    description: dict[str, Any]
    files: tuple[str, ...]
    digest: str
    """Of the names and contents of all `files`."""


@dataclass(frozen=True)
class Merged:
    """What `merge` did."""

    added: int
    present: int
    """Runs that the target had already, with the same content."""
    unfinished: int
    """Of the added ones."""


def merge(target: Path, sources: Sequence[Path]) -> Merged:
    """Copy the runs of all `sources` (suite folders, with `runs/` in them) into `target`.

    Nothing is overwritten; the same again changes nothing. Raises MergeError before anything is
    written if a folder is unsafe or two runs of one name differ.
    """
    present = {run.place: run for run in read_runs(target)} if (target / "runs").exists() else {}
    new: dict[PurePosixPath, Run] = {}
    same = 0
    for source in sources:
        if source.resolve() == target.resolve():
            raise MergeError(f"{source} is the folder to merge into")
        for run in read_runs(source):
            known = present.get(run.place) or new.get(run.place)
            if known is None:
                new[run.place] = run
            elif known.digest != run.digest:
                raise MergeError(
                    f"{run.path} and {known.path} are the same run with different content; "
                    "keep one of them, or give one of the suites another seed or label"
                )
            else:
                same += run.place in present
    _require_agreement([*present.values(), *new.values()])
    for run in new.values():
        _copy(run, target)
    plan = [pair for folder in (target, *sources) for pair in planned(folder)]
    if plan:
        write_json(target / PLAN, list(dict.fromkeys(plan)))
    stored = [folder for folder in (target, *sources) if (folder / DESIGN).exists()]
    if stored:
        write_json(target / DESIGN, asdict(combined(map(read_design, stored))))
    unfinished = sum(status(RunFolder(run.path)) != "finished" for run in new.values())
    return Merged(len(new), same, unfinished)


def read_runs(folder: Path) -> list[Run]:
    """All runs of a suite folder, checked. Raises MergeError."""
    top = folder / "runs"
    if top.is_symlink() or not top.is_dir():
        raise MergeError(f"{folder} is no suite's results: it has no folder `runs` of its own")
    try:
        paths = [run.path for run in run_folders(folder)]
    except BadResults as error:
        raise MergeError(str(error)) from None
    if len(paths) > MOST_RUNS:
        raise MergeError(f"{folder} has more than {MOST_RUNS} runs")
    runs = [_read_run(path, PurePosixPath(path.relative_to(top).as_posix())) for path in paths]
    if not runs:
        raise MergeError(f"{folder} holds no runs")
    try:
        load(folder)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise MergeError(f"{folder} does not hold results that can be read: {error!r}") from None
    return runs


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise MergeError(f"{path} is a link; copy what it points to, or remove it")


def _read_run(path: Path, place: PurePosixPath) -> Run:
    *names, seed = place.parts
    if len(names) < 2:
        raise MergeError(f"{path} is not <task>/<method>/<seed>")
    if not SEED.fullmatch(seed):
        raise MergeError(f"{path}: the seed {seed!r} is no whole number")
    files = tuple(_files(path))
    digest = hashlib.sha256()
    for file in files:
        content = read(path, file)
        digest.update(f"{file} {len(content)}\n".encode() + content)
    description = _description(path, place)
    _require_log(path)
    return Run(path, place, description, files, digest.hexdigest())


def _files(path: Path) -> Iterator[str]:
    """Names of the files of a run that are copied, in a fixed order."""
    for entry in path.iterdir():
        _refuse_link(entry)
    yield from (file for file in LARGEST if (path / file).exists())
    artifacts = path / "artifacts"
    pictures = sorted(artifacts.iterdir()) if artifacts.is_dir() else []
    if len(pictures) > MOST_PICTURES:
        raise MergeError(f"{artifacts} has more than {MOST_PICTURES} files")
    for picture in pictures:
        if SAMPLES.fullmatch(picture.name):
            yield f"artifacts/{picture.name}"


def read(run: Path, file: str) -> bytes:
    """A file of a run: a plain one of bearable size, never through a link."""
    path = run / file
    largest = LARGEST.get(file, LARGEST_PICTURE)
    try:
        content = read_bytes(path, largest)
    except BadResults as error:
        raise MergeError(str(error)) from None
    except OSError as error:
        raise MergeError(f"{path} cannot be read: {error.strerror}") from None
    if file.endswith(".png") and not content.startswith(PNG):
        raise MergeError(f"{path} is no PNG picture")
    return content


def _description(path: Path, place: PurePosixPath) -> dict[str, Any]:
    """`run.json`, if it describes the run that its folder is named after."""
    file = path / "run.json"
    try:
        described = json.loads(read(path, "run.json"))
        spec, task = described["spec"], described["task"]
        named = PurePosixPath(spec["task"], spec["label"], str(spec["seed"]))
        evaluator, metrics = task["evaluator"], task["metrics"]
        known = described["schema"], spec["options"], described["space_hash"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MergeError(f"{file} is no description of a run: {error!r}") from None
    if known[0] != SCHEMA_VERSION:
        raise MergeError(f"{file} has schema {known[0]!r}, this version reads {SCHEMA_VERSION}")
    if named != place:
        raise MergeError(f"{file} describes {named}, its folder is {place}")
    if not isinstance(evaluator, dict) or not isinstance(metrics, list):
        raise MergeError(f"{file}: evaluator and metrics must be an object and a list")
    return dict(described)


def _require_log(path: Path) -> None:
    """Raise MergeError if the log of a run holds anything but records."""
    try:
        RunFolder(path).events()
    except BadResults as error:
        raise MergeError(f"{path / 'events.jsonl'} is no log of a run: {error}") from None


def _require_agreement(runs: Sequence[Run]) -> None:
    """The same task must be measured alike, and the same label be the same method, everywhere."""
    seen: dict[tuple[str, str], tuple[Any, Run]] = {}
    for run in runs:
        described = run.description
        spec, task = described["spec"], described["task"]
        settings = {
            ("search space", spec["task"]): described["space_hash"],
            ("metrics", spec["task"]): task["metrics"],
            ("evaluator", spec["task"]): task["evaluator"] or None,
            ("clock", spec["task"]): spec.get("clock"),
            ("precision", spec["task"]): spec.get("precision", "float32"),
            ("options", spec["label"]): spec["options"],
            ("suite seed", ""): spec.get("suite_seed"),
        }
        for key, value in settings.items():
            if value is None:
                continue
            known, other = seen.setdefault(key, (value, run))
            if known != value:
                what, name = key
                raise MergeError(
                    f"{run.path} and {other.path} differ in the {what}{f' of {name}' * bool(name)}"
                    f" ({json.dumps(value)} against {json.dumps(known)}): they do not compare"
                )


def _copy(run: Run, target: Path) -> None:
    """Copy to outside of `runs/`, then rename: a crash leaves no half of a run there."""
    place = target / "runs" / run.place
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = target / f".merging.{os.getpid()}"
    try:
        (partial / "artifacts").mkdir(parents=True)
        for file in run.files:
            write_atomic(partial / file, read(run.path, file))
        os.rename(partial, place)  # refuses if something has come to be there
    finally:
        shutil.rmtree(partial, ignore_errors=True)
