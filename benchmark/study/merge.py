"""Joins results made on different machines, which may come from strangers.

Everything is checked before anything is written: names, sizes, links, and whether the same run
or task means the same thing in all of them. Only text and pictures are copied, nothing that
would be executed or unpickled: checkpoints stay behind, so a merged run that was not finished
starts over from its log.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.errors import UserError
from benchmark.files import write_atomic, write_json
from benchmark.runs.design import DESIGN, PLAN, combined
from benchmark.study.model import Study
from benchmark.study.results import PNG
from benchmark.study.stored import PACKED, FolderSuite, StoredRun, StoredSuite, open_suite


class MergeError(UserError):
    """The results cannot be joined; the message says which file or run, and why."""


@dataclass(frozen=True)
class Run:
    """One checked run."""

    stored: StoredRun
    description: dict[str, Any]
    digest: str
    """A hash of the names and contents of all its files."""


@dataclass(frozen=True)
class Merged:
    """The result of `merge`."""

    added: int
    present: int
    """Runs that the target had already, with the same content."""
    unfinished: int
    """Number of the added runs that are not finished."""


def merge(target: Path, sources: Sequence[Path], dry: bool = False) -> Merged:
    """Copy the runs of all `sources` (suite folders, or packed suites) into the folder `target`.

    Nothing is overwritten; merging again changes nothing; with `dry` nothing is written at all.
    Before anything is written, raises MergeError if runs do not go together, and NoRuns or
    BadResults as `Study.load` does.
    """
    if target.name.endswith(PACKED):
        raise MergeError(f"{target} must be a folder: merge into one, then pack it")
    suites = [_open(source) for source in sources]
    there = [_open(target)] if (target / "runs").exists() else []
    present = {run.stored.place: run for suite in there for run in read_runs(suite)}
    new: dict[PurePosixPath, Run] = {}
    same = 0
    for suite in suites:
        if suite.path.resolve() == target.resolve():
            raise MergeError(f"{suite.path} is the folder to merge into")
        for run in read_runs(suite):
            known = present.get(run.stored.place) or new.get(run.stored.place)
            if known is None:
                new[run.stored.place] = run
            elif known.digest != run.digest:
                raise MergeError(
                    f"{run.stored.where} and {known.stored.where} are the same run with different "
                    "content; keep one of them, or give one of the suites another seed or label"
                )
            else:
                same += run.stored.place in present
    if len(suites) + len(there) > 1:  # a suite alone is what it is
        _require_agreement([*present.values(), *new.values()])
    endings = [run.stored.ending(run.stored.events())[0] for run in new.values()]
    merged = Merged(len(new), same, sum(status != "finished" for status in endings))
    if dry:
        return merged
    for run in new.values():
        _copy(run.stored, target)
    suites = [*there, *suites]
    plan = dict.fromkeys(pair for suite in suites for pair in suite.planned)
    if plan and (not there or set(plan) != set(there[0].planned)):
        write_json(target / PLAN, list(plan))
    designs = [suite.design for suite in suites if suite.design]
    if designs and (not there or combined(designs) != there[0].design):
        write_json(target / DESIGN, asdict(combined(designs)))
    return merged


def _open(path: Path) -> StoredSuite:
    suite = open_suite(path)
    if isinstance(suite, FolderSuite) and not (path / "runs").is_dir():
        raise MergeError(f"{path} is no suite's results: it has no folder `runs` of its own")
    return suite


def read_runs(suite: StoredSuite) -> list[Run]:
    """All runs of a suite, checked. Raises MergeError, NoRuns and BadResults."""
    Study.load(suite.path)
    return [_read_run(run) for run in suite.runs]


def _read_run(run: StoredRun) -> Run:
    digest = hashlib.sha256()
    for file in run.names():
        content = run.content(file)
        if file.endswith(".png") and not content.startswith(PNG):
            raise MergeError(f"{run.where / file} is not a grid of samples")
        digest.update(f"{file} {len(content)}\n".encode() + content)
    description = run.description()
    if description is None:
        raise MergeError(f"{run.where / 'run.json'} is missing")
    return Run(run, description, digest.hexdigest())


def _require_agreement(runs: Sequence[Run]) -> None:
    """The same task must be measured alike, and the same label be the same method, everywhere."""
    seen: dict[tuple[str, str], tuple[Any, Run]] = {}
    for run in runs:
        described = run.description
        spec, task = described["spec"], described["task"]
        settings = {
            ("search space", spec["task"]): described["space_hash"],
            ("metrics", spec["task"]): task["metrics"],
            ("evaluator", spec["task"]): task.get("evaluator") or None,
            ("clock", spec["task"]): spec.get("clock"),
            ("precision", spec["task"]): spec.get("precision", "float32"),
            ("options", spec["label"]): spec.get("options"),
            ("suite seed", ""): spec.get("suite_seed"),
        }
        for key, value in settings.items():
            if value is None:
                continue
            known, other = seen.setdefault(key, (value, run))
            if known != value:
                what, name = key
                raise MergeError(
                    f"{run.stored.where} and {other.stored.where} differ in the "
                    f"{what}{f' of {name}' * bool(name)} ({json.dumps(value)} against "
                    f"{json.dumps(known)}): they do not compare"
                )


def _copy(run: StoredRun, target: Path) -> None:
    """Copy to outside of `runs/`, then rename: a crash leaves no half of a run there."""
    place = target / "runs" / run.place
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = target / f".merging.{uuid.uuid4().hex}"
    try:
        (partial / "artifacts").mkdir(parents=True)
        for file in run.names():
            write_atomic(partial / file, run.content(file))
        os.rename(partial, place)  # refuses if something has come to be there
    finally:
        shutil.rmtree(partial, ignore_errors=True)
