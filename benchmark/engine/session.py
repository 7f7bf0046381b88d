"""Runs a suite from plan to figures: what is left to do, on which workers, drawn as it goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.engine.cluster import ADDRESSES, LOCAL, SLURM, Cluster, Executor
from benchmark.engine.devices import default_workers
from benchmark.engine.executor import run_here, run_on
from benchmark.engine.live import Progress, follow
from benchmark.files import storing, write_json
from benchmark.runs import calibration
from benchmark.runs.folder import PLAN, planned
from benchmark.runs.runner import RunSpec, standing

DRAWING_SPACING = 120.0
"""Least seconds between two interim drawings."""


class SessionError(ValueError):
    """A session that cannot start; the message says what to do."""


@dataclass(frozen=True)
class Plan:
    """The runs of a suite, sorted by what is to be done with them."""

    specs: list[RunSpec]
    pending: list[RunSpec]
    failed: list[RunSpec]
    """Failed earlier and left alone; `--retry-failed` makes them pending."""
    retried: list[RunSpec]
    """Failed earlier, and pending again."""

    @property
    def gpu_hours(self) -> float:
        return sum(spec.budget for spec in self.pending)

    def least_hours(self, workers: int) -> float:
        """Hours that the budgets of the pending runs take `workers` at least, setup apart."""
        longest = max((spec.budget for spec in self.pending), default=0.0)
        return max(self.gpu_hours / workers, longest)


def make_executor(
    kind: str, workers: int | None, settings: dict[str, Any], device: str, sharing: int = 1
) -> Executor:
    """Where runs go, `sharing` of them to a device, checked. Raises SessionError."""
    if kind == LOCAL:
        most = sharing * default_workers(device)
        local = most if workers is None else workers
        if device.startswith("cuda") and local > most:
            raise SessionError(
                f"--workers: {local} workers want more than the {most // sharing} GPUs here; at "
                f"most {most}, or let runs share them: runs_per_device in the suite"
            )
        return Executor(kind, local, sharing=sharing)
    if kind == SLURM:
        if sharing > 1:
            raise SessionError(
                "runs_per_device is for local workers and running clusters; on Slurm ask for a "
                "part of a GPU by job_extra_directives: docs/cluster.md"
            )
        count = settings.get("workers") if workers is None else workers
        if not count:
            raise SessionError(
                "--executor slurm: say how many jobs at a time, by --workers or by `workers` in "
                "the suite's [executor] table"
            )
        return Executor(kind, count, settings)
    if not kind.startswith(ADDRESSES):
        raise SessionError(
            f"--executor must be local, slurm or an address such as tcp://HOST:8786, got {kind!r}"
        )
    if workers is not None:
        raise SessionError(f"--workers: the cluster at {kind} has its own; leave the option out")
    return Executor(kind, sharing=sharing)


def make_plan(specs: Iterable[RunSpec], retry_failed: bool = False) -> Plan:
    """Decide what is left to do. Raises SpecMismatch where settings have changed, and BadResults
    where a log cannot be read."""
    specs = list(specs)
    pending, failed, retried = [], [], []
    for spec in specs:
        status = standing(spec)
        if status == "finished":
            continue
        broken = status == "failed"
        if broken and not retry_failed:
            failed.append(spec)
            continue
        pending.append(spec)
        if broken:
            retried.append(spec)
    return Plan(specs, pending, failed, retried)


def record_plan(suite_folder: Path, specs: Iterable[RunSpec]) -> None:
    """Add the pairs of task and method that are to run to those the folder's plan has, so that
    whoever reads it knows what is missing. Raises StorageError and BadResults."""
    path = suite_folder / PLAN
    before = planned(suite_folder)
    asked = ((spec.task, spec.label) for spec in specs)
    pairs = tuple(dict.fromkeys((*before, *asked)))
    if pairs != before:
        with storing():
            suite_folder.mkdir(parents=True, exist_ok=True)
            write_json(path, pairs)


def start_over(specs: Iterable[RunSpec]) -> None:
    """Delete the runs' folders. Raises SessionError if one is in use."""
    folders = [spec.folder for spec in specs]
    for folder in folders:
        if folder.is_owned():
            raise SessionError(f"{folder.path} is in use by another process")
    for folder in folders:
        folder.discard()


def with_prices(
    specs: Iterable[RunSpec],
    measure: Callable[[str, str, str], dict[str, float]] = calibration.prices,
) -> list[RunSpec]:
    """Fill in the prices that the priced clock needs, one calibration per task."""
    known: dict[str, dict[str, float]] = {}

    def priced(spec: RunSpec) -> RunSpec:
        if spec.task not in known:
            known[spec.task] = measure(spec.task, spec.device, spec.precision)
        return replace(spec, prices=known[spec.task])

    return [priced(spec) if spec.clock == "priced" else spec for spec in specs]


def run(
    plan: Plan, executor: Executor, console: Console, draw: Callable[[Path], Any]
) -> Progress:  # fmt: skip
    """Execute the plan's pending runs; `draw` the suite's folder whenever a task completes."""
    for spec in plan.retried:
        with spec.folder.owned():
            spec.folder.mend()
            spec.folder.append({"kind": "retry", "time": time.time()})
    specs = plan.pending
    done_before = len(plan.specs) - len(plan.pending) - len(plan.failed)
    progress = Progress(specs, len(plan.specs), max(executor.workers, 1), finished=done_before)
    left = Counter(spec.task for spec in specs)
    due = 0.0

    def follow_up(spec: RunSpec) -> Callable[[], Any] | None:
        """Draw what there is when a task is complete, but not all the time."""
        nonlocal due
        left[spec.task] -= 1
        if left[spec.task] > 0 or left.total() == 0 or time.monotonic() < due:
            return None
        due = time.monotonic() + DRAWING_SPACING
        return partial(draw, Path(spec.results) / spec.suite)

    if not specs:
        return progress
    if executor.workers == 0 and not executor.is_remote:
        outcomes = run_here(with_prices(specs), follow_up, progress.start)
        follow(console, progress, outcomes)
        return progress
    with executor.connect(specs) as cluster:
        measure = _measure_on(cluster) if executor.is_remote else calibration.prices
        priced = with_prices(specs, measure)
        follow(console, progress, run_on(cluster, priced, follow_up, progress.start))
    return progress


def _measure_on(cluster: Cluster) -> Callable[[str, str, str], dict[str, float]]:
    """Calibrate where the runs will be: the machine of the command may have no such device."""

    def measure(task: str, device: str, precision: str) -> dict[str, float]:
        prices: dict[str, float] = cluster.call(calibration.prices, task, device, precision)
        return prices

    return measure
