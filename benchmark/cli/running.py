"""Commands that run methods, and what runs need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from benchmark.cli import output
from benchmark.cli.options import ResultsOption, SuiteOption
from benchmark.cli.reading import print_summary

if TYPE_CHECKING:
    from benchmark.prepare import Finding


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
        str, typer.Option(help="local, slurm, or a Dask scheduler's address: docs/running.md.")
    ] = "local",
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda if any.")] = None,
    clock: Annotated[
        Literal["device", "priced"],
        typer.Option(help="Measured device time, or calibrated prices."),
    ] = "device",
    fresh: Annotated[bool, typer.Option(help="Delete the chosen runs and start over.")] = False,
    retry_failed: Annotated[bool, typer.Option(help="Run failed runs again.")] = False,
    log: Annotated[
        Literal["tensorboard", "wandb"] | None,
        typer.Option(help="Show the runs there while they work."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Show what would run, and stop.")] = False,
) -> None:  # fmt: skip
    """Run a suite, or a part of it; what is finished is not run again."""
    if not (everything or task or method):
        raise typer.BadParameter("say --all, or choose with --task and --method")
    from benchmark import launch
    from benchmark.engine.stopping import Stopped
    from benchmark.runs.watchdog import ENDED_A_RUN
    from benchmark.watching import followed

    request = launch.Request(
        suite, task or (), method or (), seeds, budget, results, workers, executor, device,
        clock, fresh, retry_failed,
    )  # fmt: skip
    plan = launch.plan(request, dry_run)
    output.print_lines(plan.describe())
    if dry_run:
        output.print_lines(plan.estimate())
        return
    try:
        with followed(log, plan.folder):
            progress = launch.execute(plan, output.console)
    except Stopped as stopped:
        output.errors.print("stopped; the same command goes on from here", markup=False)
        raise typer.Exit(stopped.exit_code) from None
    if any((plan.folder / "runs").rglob("run.json")):
        conclude(plan.folder)
    for problem in progress.problems(plan.folder):
        output.complain(problem)
    if progress.failed or ENDED_A_RUN in os.environ:
        raise typer.Exit(1)


def conclude(folder: Path) -> None:
    """Draw everything, print the summary and the verdict, and say where to look."""
    from benchmark.analysis.verdict import verdict
    from benchmark.display import draw
    from benchmark.display.page import write_report
    from benchmark.study.model import Study

    stored = Study.load(folder)
    paths = draw(stored)
    page = write_report(stored, folder)
    print_summary(stored)
    output.print_lines(["", *verdict(stored), ""])
    output.print_lines(
        [f"{len(paths)} tables and figures in {folder}", f"all of it on one page: {page}"]
    )


def prepare(
    suite: Annotated[str, typer.Argument(help="Shipped suite, or a TOML file.")],
    check_only: Annotated[
        bool, typer.Option("--check", help="Fetch nothing: only say what is missing or damaged.")
    ] = False,
) -> None:
    """Fetch and verify the weights and data that the tasks of a suite need."""
    from benchmark import prepare as preparing
    from benchmark.suite import load

    problems = []
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
    output.print_lines([f"suite {chosen.name}: everything is here"])


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
