"""How every run of a suite stands, from its folder alone; reads no more than it must."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark.files import BadResults, read_json
from benchmark.runs.folder import NoRuns, Record, RunFolder, ending, last_clock, run_folders


@dataclass(frozen=True)
class State:
    """One run. `status` is that of `store.status`, or `damaged`."""

    task: str
    method: str
    seed: str
    status: str
    reason: str
    used: float | None
    """Share of the budget."""
    silent: float | None
    """Seconds since the last sign of life."""
    error: Path | None
    """Traceback of a failed run."""


def survey(suite_folder: Path) -> list[State]:
    """All runs that were ever begun. Raises NoRuns when there is none."""
    root = len((suite_folder / "runs").parts)
    found = [_state(folder.path.parts[root:], folder) for folder in run_folders(suite_folder)]
    if not found:
        raise NoRuns(suite_folder)
    return found


def _state(place: Sequence[str], folder: RunFolder) -> State:
    *task, method, seed = place
    try:
        events = folder.events()
        status, reason = ending(folder, events)
        used = _used(folder, events)
    except (BadResults, KeyError, TypeError) as error:
        status, reason, used = "damaged", str(error), None
    failed = status == "failed" and folder.error.exists()
    return State(
        "/".join(task), method, seed, status, reason, used, _silence(folder),
        folder.error if failed else None,
    )  # fmt: skip


def _used(folder: RunFolder, events: list[Record]) -> float | None:
    description = read_json(folder.description)
    clock = last_clock(events)
    if description is None or clock is None:
        return None
    seconds: float = clock["ledgers"]["method"]
    return seconds / (3600 * float(description["spec"]["budget"]))


def _silence(folder: RunFolder) -> float | None:
    signs = []
    for path in (folder.log, folder.heartbeat):
        with suppress(FileNotFoundError):
            signs.append(path.stat().st_mtime)
    return max(time.time() - max(signs), 0.0) if signs else None
