"""Commands that run methods, and what runs need."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from benchmark.cli import output
from benchmark.cli.options import ResultsOption, SuiteOption
from benchmark.cli.reading import print_summary

if TYPE_CHECKING:
    from benchmark.engine.cluster import Executor
    from benchmark.engine.session import Plan
    from benchmark.prepare import Finding
    from benchmark.suite import Suite


class ClockKind(StrEnum):
    device = "device"
    priced = "priced"


def run(
    everything: Annotated[bool, typer.Option("--all", help="Run the whole suite.")] = False,
    task: Annotated[
        list[str] | None, typer.Option(help="Task name or pattern (repeatable).")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Method, pattern, or a .py file (repeatable).")
    ] = None,
    suite: SuiteOption = "quick",
    seeds: Annotated[int | None, typer.Option(help="Runs per task and method.")] = None,
    budget: Annotated[float | None, typer.Option(help="GPU-hours per run.")] = None,
    results: ResultsOption = Path("results"),
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes; 0 runs in this process. "
                                 "Default: one per GPU or CPU core.")
    ] = None,
    executor: Annotated[
        str, typer.Option(help="local, slurm, or a Dask scheduler's address: docs/cluster.md.")
    ] = "local",
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda if any.")] = None,
    clock: Annotated[
        ClockKind, typer.Option(help="Measured device time, or calibrated prices.")
    ] = ClockKind.device,
    fresh: Annotated[bool, typer.Option(help="Delete the chosen runs and start over.")] = False,
    retry_failed: Annotated[bool, typer.Option(help="Run failed runs again.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show what would run, and stop.")] = False,
) -> None:  # fmt: skip
    """Run a suite, or a part of it; what is finished is not run again."""
    if not (everything or task or method):
        raise typer.BadParameter("say --all, or choose with --task and --method")
    with output.clear_errors():
        from benchmark.display.drawing import sketch
        from benchmark.engine import session
        from benchmark.engine.estimate import unpaid
        from benchmark.engine.stopping import Stopped, stop_signals
        from benchmark.files import StorageError
        from benchmark.prepare import unavailable
        from benchmark.runs.design import record_design
        from benchmark.suite import load, select

        chosen = select(load(suite), task or (), method or (), seeds, budget)
        device = _device(device, executor)
        where = session.make_executor(
            executor, workers, chosen.executor, device, chosen.runs_per_device
        )
        lacking = unavailable(chosen)
        if lacking and not dry_run:
            raise session.SessionError(f"{lacking[0]}; see: python -m benchmark prepare {suite}")
        # Workers on other machines have another working folder.
        specs = chosen.specs(results.absolute() if where.is_remote else results, clock, device)
        if fresh and not dry_run:
            session.start_over(specs)
        plan = session.make_plan(specs, retry_failed or fresh)
        _announce(plan, chosen, where, device)
        if dry_run:
            output.print_lines(lacking)
            if plan.pending:
                _print_least_time(plan, where.workers)
                output.print_lines([unpaid(plan.pending, plan.specs).describe()])
            return
        try:
            record_design(results / chosen.name, chosen.design)
            session.record_plan(results / chosen.name, plan.specs)
            with stop_signals():
                progress = session.run(plan, where, output.console, sketch)
        except Stopped as stopped:
            output.errors.print("stopped; nothing is lost: the same command goes on from here")
            raise typer.Exit(stopped.exit_code) from None
        except StorageError as error:
            raise StorageError(
                f"{error}; nothing that was recorded is lost: once there is room and the right to "
                "write, the same command goes on from here"
            ) from None
        folder = results / chosen.name
        if any((folder / "runs").rglob("run.json")):
            conclude(folder)
    if progress.elsewhere:
        output.errors.print(f"{len(progress.elsewhere)} runs are in the hands of another process")
    if progress.failed:
        output.errors.print(
            f"{len(progress.failed)} runs failed; see: python -m benchmark status "
            f"--suite {chosen.name} --results {results}",
            soft_wrap=True,
        )
        raise typer.Exit(1)


def conclude(folder: Path) -> None:
    """Draw everything, print the summary, and say where to look."""
    from benchmark.display.drawing import draw, report
    from benchmark.study.model import Study

    stored = Study.load(folder)
    paths = draw(stored)
    page = report(stored)
    print_summary(stored)
    output.console.print(
        f"{len(paths)} tables and figures in {folder}", soft_wrap=True, highlight=False
    )
    output.console.print(f"all of it on one page: {page}", soft_wrap=True, highlight=False)


def _device(asked: str | None, executor: str) -> str:
    """The device asked for, or the best of this machine; workers elsewhere look for themselves."""
    from benchmark.engine.cluster import LOCAL
    from benchmark.engine.devices import check_device, default_device

    if asked is None:
        return default_device()
    check_device(asked, here=executor == LOCAL)
    return asked


def _announce(plan: Plan, suite: Suite, executor: Executor, device: str) -> None:
    budgets = {entry.name: entry.budget * 3600 for entry in suite.tasks}
    pairs = suite.pairs()
    for name, seconds in budgets.items():
        labels = [method.label for task, method in pairs if task.name == name]
        output.console.print(
            f"{name}: {len(labels)} methods x {suite.seeds} seeds x {_amount(seconds)} "
            f"of {device} time: {', '.join(labels)}",
            soft_wrap=True, highlight=False, markup=False,
        )  # fmt: skip
    output.console.print(
        f"{len(plan.specs)} runs, {len(plan.pending)} to do in {executor.describe()}: "
        f"{plan.gpu_hours:.3g} device-hours to spend",
        highlight=False,
    )
    if plan.failed:
        output.console.print(f"{len(plan.failed)} failed earlier; --retry-failed runs them again")


def _amount(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 3600:.3g} h"


def _print_least_time(plan: Plan, workers: int) -> None:
    """Wall time of the budgets alone, with a few numbers of workers and with `workers`."""
    from benchmark.engine.live import clock_time

    counts = {n for n in (1, 2, 4, 8) if n <= len(plan.pending)} | {max(workers, 1)}
    times = [f"{clock_time(plan.least_hours(n) * 3600)} with {n}" for n in sorted(counts)]
    output.console.print(
        f"wall time at least (setup and evaluations on top), by workers: {', '.join(times)}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def prepare(
    suite: Annotated[str, typer.Argument(help="Shipped suite, or a TOML file.")],
    check_only: Annotated[
        bool, typer.Option("--check", help="Fetch nothing: only say what is missing or damaged.")
    ] = False,
) -> None:
    """Fetch and verify the weights and data that the tasks of a suite need."""
    problems = []
    with output.clear_errors():
        from benchmark import prepare as preparing
        from benchmark.suite import load

        chosen = load(suite)
        for finding in preparing.prepare(chosen, fetch=not check_only):
            _show_finding(finding)
            if finding.problem:
                problems.append(finding.line)
        problems = problems or preparing.unavailable(chosen)
    for problem in problems:
        output.complain(problem)
    if problems:
        raise typer.Exit(1)
    output.console.print(f"suite {chosen.name}: everything is here")


def _show_finding(finding: Finding) -> None:
    asset = finding.asset
    style = "red" if finding.problem else "green"
    output.console.print(Text(f"{finding.state:>9}", style=style), Text(asset.name, style="bold"))
    for label, value in (
        ("for", ", ".join(finding.tasks)),
        ("in", asset.place or f"optional: {asset.remedy}"),
        ("licence", asset.licence),
        ("size", asset.size),
        ("hashes", asset.hashes),
    ):
        output.console.print(Text(f"{label:>17}: {value}"), soft_wrap=True)
