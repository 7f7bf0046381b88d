"""The check of stored results: whether their runs come out again.

A run is repeated from its seed, and its log compared with the stored one step by step: parameters,
scores, metrics, incumbents, counted work. A run under the priced clock is a function of its seed,
so all of its log must come out, charged time included. Under the device clock the repetition is
told the time by the stored log (`LoggedClock`), so that a search makes the same trials on a machine
of any speed. What a method does between two steps by its progress, as a training that plans its
learning rate, comes out only roughly: a repetition that differs is therefore made once more with a
slower clock, and what differs between the two is not held against the stored run. How much time a
step takes is not checked: it is a fact of the machine. Numbers count as equal up to `ROUNDING`, for
processors round differently.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark import registry
from benchmark.contract.equality import same
from benchmark.contract.methods import essence
from benchmark.engine.devices import check_device
from benchmark.errors import UserError
from benchmark.files import plain
from benchmark.runs.clock import LoggedClock
from benchmark.runs.log import Record, effective_steps, last_clock
from benchmark.runs.provenance import provenance
from benchmark.runs.runner import execute
from benchmark.runs.spec import RunSpec
from benchmark.study.merge import read_runs
from benchmark.study.stored import StoredRun, open_suite

SLOWER = 0.9
"""Pace of the clock of the second repetition."""
OTHER = "another machine"
"""Where numbers are equal up to rounding: `equality.same`."""
AGREES, DIFFERS, UNDECIDED, NOT_REPEATED = "agrees", "DIFFERS", "undecided", "not repeated"


@dataclass(frozen=True)
class Finding:
    """How the run at `place` came out: `AGREES`, `DIFFERS`, `UNDECIDED` if all its steps follow the
    device clock, or `NOT_REPEATED`; and the reason, or how many steps agree."""

    place: PurePosixPath
    outcome: str
    reason: str


def verify(path: Path, seeds: int) -> Iterator[Finding]:
    """Repeat `seeds` finished runs of every task and method in a suite's folder or a packed suite.

    Which ones follows from a hash of their logs. Methods and tasks are loaded and executed; one of
    a file is looked for beside the results, then where the run had it. Raises NoRuns and BadResults
    as `Study.load` does.
    """
    suite = open_suite(path)
    read_runs(suite)
    finished: dict[PurePosixPath, list[StoredRun]] = defaultdict(list)
    for run in suite.runs:
        if run.ending(run.events())[0] == "finished":
            finished[run.place.parent].append(run)
    for runs in finished.values():
        for run in sorted(runs, key=_hash)[:seeds]:
            yield _verified(run, suite.path.parent)


def _hash(run: StoredRun) -> str:
    return hashlib.sha256(run.content("events.jsonl")).hexdigest()


def _verified(run: StoredRun, beside: Path) -> Finding:
    described = run.description() or {}
    known, here = described["provenance"], provenance("cpu")
    try:
        _require_versions(known["versions"], here["versions"])
        spec = _spec(described["spec"], beside)
        check_device(spec.device)
        registry.method(spec.method)
        if lacking := registry.task(spec.task_file or spec.task).unavailable():
            raise UserError(lacking)
    except (UserError, TypeError) as error:
        return Finding(run.place, NOT_REPEATED, plain(str(error)))
    outcome, reason = _repeated(spec, run.events(), described["task"]["metrics"][0]["name"])
    commits = {str((origin["git"] or {}).get("commit"))[:12] for origin in (known, here)}
    if outcome == DIFFERS and len(commits) > 1:
        reason += f"; commits {' and '.join(sorted(commits))}"
    return Finding(run.place, outcome, plain(reason))


def _require_versions(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise UserError, naming them, where versions of what results depend on differ."""
    others = [f"{name} {was}, here {now.get(name)}" for name, was in before.items()
              if was != now.get(name)]  # fmt: skip
    if others:
        raise UserError(f"made with {'; '.join(others)}")


def _spec(stored: Mapping[str, Any], beside: Path) -> RunSpec:
    """The spec of a repetition, whose results folder is still to be chosen."""
    known = {field.name: stored[field.name] for field in fields(RunSpec) if field.name in stored}
    spec = RunSpec(**known | {"suite": "again", "results": ""})
    return replace(
        spec, method=_at_hand(spec.method, beside), task_file=_at_hand(spec.task_file, beside)
    )


def _at_hand(name: str, beside: Path) -> str:
    """What was named, in the file of that name `beside` the results if there is one."""
    file = registry.file_of(name)
    if file is None or not (beside / file.name).is_file():
        return name
    return str(beside / file.name) + name.removeprefix(str(file))


def _repeated(spec: RunSpec, events: list[Record], metric: str) -> tuple[str, str]:
    stored, measured = _steps(events), spec.clock == "device"
    end = last_clock(events) or {}
    clocks = [*(step["clock"] for step in effective_steps(events)), end]
    if measured and not any(end["work"].values()) and events[-1]["reason"] == "budget":
        return NOT_REPEATED, "its log counts no work, by which a clock could follow it"

    def again(pace: float) -> tuple[str, list[Record]]:
        with tempfile.TemporaryDirectory() as folder:
            clock = LoggedClock(spec.budget * 3600, clocks, pace) if measured else None
            repetition = replace(spec, results=folder)
            outcome = execute(repetition, clock=clock)
            failed = "" if outcome.status == "finished" else outcome.reason
            return failed, _steps(repetition.folder.events())

    failed, first = again(1.0)
    if failed:
        return DIFFERS, f"failed: {failed}"
    common, differing = _common(stored, first, measured)
    agreed = f"{common} of {len(stored)} steps"
    if not differing:
        return AGREES if common else UNDECIDED, agreed
    if measured and _common(first, again(SLOWER)[1], measured)[0] <= common:
        ends = f"ends at {metric} {_last(first, metric):.4g}, stored {_last(stored, metric):.4g}"
        return AGREES if common else UNDECIDED, f"{agreed}; from there it follows the clock, {ends}"
    return DIFFERS, f"{agreed}; then {differing}"


def _steps(events: list[Record]) -> list[Record]:
    """The trials and reports that count, and what was measured at the end."""
    return effective_steps(events) + [step for step in events if step["kind"] == "final"][-1:]


def _last(steps: Sequence[Record], metric: str) -> float:
    """Value of the metric that was reported last."""
    values = [step["metrics"][metric] for step in steps if metric in (step["metrics"] or {})]
    return values[-1] if values else float("nan")


def _common(stored: Sequence[Record], again: Sequence[Record], measured: bool) -> tuple[int, str]:
    """How many steps two logs share, and in what the next one differs: nothing where the device
    clock has ended one of them, or decided on another kind of step."""
    nothing: Record = {}
    pairs = itertools.zip_longest(stored, again, fillvalue=nothing)
    for number, (one, other) in enumerate(pairs):
        if measured:
            if any(one.get(key) != other.get(key) for key in ("kind", "fidelity")):
                return number, ""
            one, other = _timeless(one, other), _timeless(other, one)
        else:
            one, other = (essence(step) if step else step for step in (one, other))
        for key in dict.fromkeys([*one, *other]):
            if not same(one.get(key), other.get(key), OTHER):
                return number, f"{key} {one.get(key)} became {other.get(key)}"
    return len(stored), ""


def _timeless(step: Record, other: Record) -> Record:
    """What the device clock does not decide: neither time nor whether an evaluation was due."""
    evaluated = None if other["metrics"] is None else step["metrics"]
    return step | {"clock": step["clock"]["work"], "metrics": evaluated}
