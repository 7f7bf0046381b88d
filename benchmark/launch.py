"""The path from what is asked for to results, which the command and the Python API share.

A `Request` is checked and made into a `Plan` before anything is written; `execute` runs what the
plan has pending; `conclude` writes tables, figures and the report of what is stored.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from filelock import FileLock
from rich.console import Console

from benchmark.engine.cluster import LOCAL, Executor, make_executor
from benchmark.engine.devices import check_device, default_device, kind
from benchmark.engine.estimate import beside_budgets, clock_time
from benchmark.engine.executor import run_all
from benchmark.engine.live import Progress, follow
from benchmark.engine.stopping import stop_signals
from benchmark.errors import UserError
from benchmark.files import StorageError, read_json, storing, write_json
from benchmark.prepare import needed, unavailable
from benchmark.runs.design import PLAN, planned, record_design
from benchmark.runs.runner import standing
from benchmark.runs.spec import Outcome, RunSpec
from benchmark.suite import Suite, load, select

DRAWING_SPACING = 120.0
"""Least seconds between two interim drawings, or 20 times what the last one took."""
SUITE = "suite.json"
"""In a suite's results folder: which file the suite came from."""


class LaunchError(UserError):
    """Runs that cannot be started as asked for."""


@dataclass(frozen=True)
class Request:
    """A request to run something; names and patterns as on the command line."""

    suite: str = "quick"
    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()
    seeds: int | None = None
    budget: float | None = None
    """GPU-hours of each run."""
    results: Path = Path("results")
    workers: int | None = None
    executor: str = LOCAL
    device: str | None = None
    clock: str = "device"
    fresh: bool = False
    retry_failed: bool = False


@dataclass(frozen=True)
class Plan:
    """The runs of a suite, sorted by what is to be done with them."""

    suite: Suite
    where: Executor
    specs: list[RunSpec]
    pending: list[RunSpec]
    failed: list[RunSpec]
    """Failed earlier: left alone, or pending again under `retry`."""
    retry: bool = False

    @property
    def folder(self) -> Path:
        """The suite's results."""
        return Path(self.specs[0].results) / self.suite.name

    def describe(self) -> Iterator[str]:
        """A few lines on what will run."""
        pairs = self.suite.pairs()
        for entry in self.suite.tasks:
            labels = [method.label for task, method in pairs if task is entry]
            yield (
                f"{entry.name}: {len(labels)} methods x {self.suite.seeds} seeds x "
                f"{_amount(entry.budget * 3600)} of {self.where.device} time: {', '.join(labels)}"
            )
        yield from self.suite.refusals()
        hours = sum(spec.budget for spec in self.pending)
        yield (
            f"{len(self.specs)} runs, {len(self.pending)} to do in {self.where.describe()}: "
            f"{hours:.3g} device-hours to spend"
        )
        if self.pending:
            limits = sorted({clock_time(spec.limit) for spec in self.pending})
            yield (
                "a run that takes longer than its hard limit of wall time, evaluations aside, is "
                f"ended as failed: {', '.join(limits)}"
            )
        planned, least = self.suite.design.contrasts, self.suite.design.least_seeds
        if planned and self.suite.seeds < least:
            yield (
                f"{self.suite.seeds} seeds are too few to decide the planned comparisons: "
                f"{least} can"
            )
        if self.failed and not self.retry:
            yield f"{len(self.failed)} failed earlier; --retry-failed runs them again"

    def estimate(self) -> Iterator[str]:
        """How long the pending runs take, as far as is known beforehand."""
        yield from unavailable(self.suite)
        if not self.pending:
            return
        counts = {n for n in (1, 2, 4, 8) if n <= len(self.pending)} | {max(self.where.workers, 1)}
        times = [f"{clock_time(self.least_hours(n) * 3600)} with {n}" for n in sorted(counts)]
        yield f"wall time at least (setup and evaluations on top), by workers: {', '.join(times)}"
        yield beside_budgets(self.pending, self.specs)

    def least_hours(self, workers: int) -> float:
        """Hours that the budgets of the pending runs take `workers` at least, setup apart."""
        budgets = [spec.budget for spec in self.pending]
        return max(sum(budgets) / workers, max(budgets, default=0.0))


def plan(request: Request, dry: bool = False) -> Plan:
    """Check what is asked for and decide what is left to do.

    With `fresh` and unless `dry`, the chosen runs are deleted. Raises UserError: of its kinds
    SpecMismatch where settings have changed, and BadResults where a log cannot be read.
    """
    suite = select(
        load(request.suite), request.tasks, request.methods, request.seeds, request.budget
    )
    device = request.device or default_device()
    check_device(device, here=request.executor == LOCAL)
    where = make_executor(
        request.executor, request.workers, suite.executor, device, suite.runs_per_device
    )
    if (lacking := unavailable(suite)) and not dry:
        hint = f"; see: python -m benchmark prepare {quote(request.suite)}" if needed(suite) else ""
        raise LaunchError(lacking[0] + hint)
    specs = suite.specs(request.results, request.clock, kind(device))
    _refuse_namesake(suite, request.results / suite.name)
    if request.fresh and not dry:
        start_over(specs)
    retry = request.retry_failed or request.fresh
    stored = [(spec, standing(spec)) for spec in specs]
    left_alone = ("finished",) if retry else ("finished", "failed")
    pending = [spec for spec, status in stored if status not in left_alone]
    failed = [spec for spec, status in stored if status == "failed"]
    return Plan(suite, where, specs, pending, failed, retry)


def start_over(specs: Iterable[RunSpec]) -> None:
    """Delete the runs' folders. Raises LaunchError if one is in use."""
    folders = [spec.folder for spec in specs]
    for folder in folders:
        if folder.is_owned():
            raise LaunchError(f"{folder.path} is in use by another process")
    for folder in folders:
        folder.discard()


def _refuse_namesake(suite: Suite, folder: Path) -> None:
    """Raise LaunchError if the folder's runs are those of another suite file of this name."""
    before = Path(str((read_json(folder / SUITE) or {}).get("file", "")))
    if before.is_file() and before.read_bytes() != suite.file.read_bytes():
        raise LaunchError(
            f"{folder} holds runs of the suite in {before}, and {suite.file} is another suite of "
            "that name; rename one of them, or choose another --results folder"
        )


def record_plan(folder: Path, specs: Iterable[RunSpec], suite: Suite | None = None) -> None:
    """Add the pairs of task and method that are to run to those that the suite's folder has, so
    that whoever reads it knows what is missing; store the suite's design and where it came from.

    Raises StorageError and BadResults.
    """
    asked = [(spec.task, spec.label) for spec in specs]
    with storing():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".plan.lock"):  # another command may add pairs of its own
            before = planned(folder)
            pairs = tuple(dict.fromkeys((*before, *asked)))
            if pairs != before:
                write_json(folder / PLAN, pairs)
            if suite is not None:
                record_design(folder, suite.design)
                write_json(folder / SUITE, {"file": str(suite.file.absolute())})


def execute(plan: Plan, console: Console) -> Progress:
    """Execute the plan's pending runs, showing progress on `console` and drawing interim figures.

    Raises Stopped on Ctrl-C and SIGTERM, ClusterError, and StorageError: the same command goes on
    from there.
    """
    try:
        record_plan(plan.folder, plan.specs, plan.suite)
        for spec in plan.failed if plan.retry else ():
            with spec.folder.owned():
                spec.folder.mend()
                spec.folder.append({"kind": "retry", "time": time.time()})
        done = len(plan.specs) - len(plan.pending) - (0 if plan.retry else len(plan.failed))
        progress = Progress(plan.pending, len(plan.specs), max(plan.where.workers, 1), done)
        if plan.pending:
            outcomes = run_all(plan.where, plan.pending, progress.start)
            with stop_signals(), closing(outcomes):
                follow(console, progress, _drawn(plan, outcomes))
        return progress
    except StorageError as error:
        raise StorageError(
            f"{error}; nothing that was recorded is lost: once there is room and the right to "
            "write, the same command goes on from here"
        ) from None


def _drawn(plan: Plan, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """The outcomes; draws what there is when a task is complete, but not all the time."""
    left = Counter(spec.task for spec in plan.pending)
    due = 0.0
    for outcome in outcomes:
        yield outcome
        left[outcome.spec.task] -= 1
        started = time.monotonic()
        if left[outcome.spec.task] or not left.total() or started < due:
            continue
        from benchmark.display import draw
        from benchmark.display.figures import left_out_if_broken
        from benchmark.study.model import Study

        with left_out_if_broken("interim figures"):
            draw(Study.load(plan.folder), formats=("png",))
        ended = time.monotonic()
        due = ended + max(DRAWING_SPACING, 20 * (ended - started))


def _amount(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 3600:.3g} h"
