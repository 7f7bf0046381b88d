"""The status of every run of a suite, from stored files alone; reads no more than it must."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark.files import BadResults
from benchmark.runs.log import Record, last_clock
from benchmark.study.stored import FolderRun, NoRuns, StoredRun, open_suite


@dataclass(frozen=True)
class State:
    """One run. `status` is that of `runs.folder.ending`, or `damaged`."""

    task: str
    method: str
    seed: str
    status: str
    reason: str
    used: float | None
    """Share of the budget that is used."""
    silent: float | None
    """Seconds since the last sign of life."""
    error: Path | None
    """Traceback of a failed run."""


def survey(path: Path) -> list[State]:
    """All runs that were ever begun. Raises NoRuns when there is none, and BadResults."""
    found = [_state(run) for run in open_suite(path).runs]
    if not found:
        raise NoRuns(path)
    return found


def _state(run: StoredRun) -> State:
    *task, method, seed = run.place.parts
    try:
        events = run.events()
        status, reason = run.ending(events)
        used = _used(run, events)
        failed = status == "failed" and "error.txt" in run.names()
    except (BadResults, KeyError, TypeError) as error:
        status, reason, used, failed = "damaged", str(error), None, False
    error_file = run.where / "error.txt" if failed and isinstance(run, FolderRun) else None
    return State("/".join(task), method, seed, status, reason, used, _silence(run), error_file)


def _used(run: StoredRun, events: list[Record]) -> float | None:
    description = run.description()
    clock = last_clock(events)
    if description is None or clock is None:
        return None
    seconds: float = clock["ledgers"]["method"]
    return seconds / (3600 * float(description["spec"]["budget"]))


def _silence(run: StoredRun) -> float | None:
    signs = []
    for path in (run.run.log, run.run.heartbeat) if isinstance(run, FolderRun) else ():
        with suppress(FileNotFoundError):
            signs.append(path.stat().st_mtime)
    return max(time.time() - max(signs), 0.0) if signs else None
