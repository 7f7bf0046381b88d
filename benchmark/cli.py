"""The command line: arguments and messages; the work is elsewhere.

Modules that import torch or pandas are imported inside the commands, so that `--help`
answers at once.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from benchmark.cluster import Executor
    from benchmark.prepare import Finding
    from benchmark.results import Results
    from benchmark.session import Plan
    from benchmark.suite import Suite

app = typer.Typer(
    name="benchmark",
    help="Compare ways to tune diffusion models under a metered GPU-hour budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
WIDE = None if sys.stdout.isatty() else 200  # a pipe or a file has no width to fit into
console = Console(width=WIDE, file=sys.stdout)  # for good: runs redirect what methods print
errors = Console(file=sys.stderr)


class ClockKind(StrEnum):
    device = "device"
    priced = "priced"


class Kind(StrEnum):
    tasks = "tasks"
    methods = "methods"
    suites = "suites"


class Format(StrEnum):
    png = "png"
    pdf = "pdf"
    svg = "svg"


SuiteOption = Annotated[str, typer.Option("--suite", help="Shipped suite, or a TOML file.")]
ResultsOption = Annotated[Path, typer.Option("--results", help="Folder of all suites' results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; also after a command.")
    ] = False,
) -> None:
    """Compare ways to tune diffusion models under a metered GPU-hour budget."""
    # `main` takes --debug from wherever it stands.


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show an error that the user can act on as one line, and exit with code 2."""
    from benchmark.admission import ClusterError
    from benchmark.merge import MergeError
    from benchmark.registry import BrokenModule, UnknownName
    from benchmark.runner import SpecMismatch
    from benchmark.session import SessionError
    from benchmark.store import BadResults, Busy
    from benchmark.suite import SuiteError

    known = (
        BrokenModule, UnknownName, SpecMismatch, SessionError, SuiteError, ClusterError,
        MergeError, Busy, BadResults, OSError,
    )  # fmt: skip
    try:
        yield
    except known as error:
        if _debugging():
            raise
        _complain(str(error) or type(error).__name__)  # a TimeoutError of Dask says nothing
        raise typer.Exit(2) from None


def _complain(message: str) -> None:
    errors.print(Text(f"error: {' '.join(message.split())}", style="red"), soft_wrap=True)


def _debugging() -> bool:
    return "--debug" in sys.argv


@app.command()
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
    with clear_errors():
        from benchmark import session
        from benchmark.drawing import sketch
        from benchmark.estimate import unpaid
        from benchmark.prepare import unavailable
        from benchmark.stopping import Stopped, stop_signals
        from benchmark.store import StorageError
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
            _print_lines(lacking)
            if plan.pending:
                _print_least_time(plan, where.workers)
                _print_lines([unpaid(plan.pending, plan.specs).describe()])
            return
        try:
            session.record_plan(results / chosen.name, plan.specs)
            with stop_signals():
                progress = session.run(plan, where, console, sketch)
        except Stopped as stopped:
            errors.print("stopped; nothing is lost: the same command goes on from here")
            raise typer.Exit(stopped.exit_code) from None
        except StorageError as error:
            raise StorageError(
                f"{error}; nothing that was recorded is lost: once there is room and the right to "
                "write, the same command goes on from here"
            ) from None
        folder = results / chosen.name
        if any((folder / "runs").rglob("run.json")):
            _conclude(folder)
    if progress.elsewhere:
        errors.print(f"{len(progress.elsewhere)} runs are in the hands of another process")
    if progress.failed:
        errors.print(
            f"{len(progress.failed)} runs failed; see: python -m benchmark status "
            f"--suite {chosen.name} --results {results}",
            soft_wrap=True,
        )
        raise typer.Exit(1)


def _conclude(folder: Path) -> None:
    """Draw everything, print the summary, and say where to look."""
    from benchmark.drawing import draw, read, report

    stored = read(folder)
    paths = draw(stored)
    page = report(stored)
    _print_summary(stored)
    console.print(f"{len(paths)} tables and figures in {folder}", soft_wrap=True, highlight=False)
    console.print(f"all of it on one page: {page}", soft_wrap=True, highlight=False)


@app.command(name="list")
def list_command(kind: Kind, as_json: JsonOption = False) -> None:
    """List tasks, methods or suites."""
    with clear_errors():
        from benchmark import catalogue

        rows = getattr(catalogue, kind.value)()
    _show(rows, as_json)


@app.command()
def info(name: str, as_json: JsonOption = False) -> None:
    """Describe a task or a method: space, references, citation, cost."""
    with clear_errors():
        from benchmark import catalogue

        details = catalogue.details(name)
    if as_json:
        typer.echo(json.dumps(details, indent=1))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in details.items():
        lines = value if isinstance(value, list) else [value]
        text = "\n".join(item if isinstance(item, str) else json.dumps(item) for item in lines)
        table.add_row(Text(key, style="bold"), Text(text))
    console.print(table)


@app.command()
def status(suite: SuiteOption = "quick", results: ResultsOption = Path("results")) -> None:
    """Show every run of a suite: how far it is, or why it ended."""
    with clear_errors():
        from benchmark.live import clock_time
        from benchmark.survey import survey

        states = survey(results / Path(suite).stem)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        "task",
        "method",
        "seed",
        "status",
        "budget used",
        "last sign of life",
        "reason",
    ):
        table.add_column(column)
    for state in states:
        used = "-" if state.used is None else f"{state.used:.0%}"
        silent = "-" if state.silent is None else f"{clock_time(state.silent)} ago"
        where = f" (traceback in {state.error})" if state.error else ""
        table.add_row(
            Text(state.task), Text(state.method), state.seed, state.status, used,
            "" if state.status == "finished" else silent, Text(f"{state.reason}{where}"),
        )  # fmt: skip
    console.print(table)
    counts = Counter(state.status for state in states)
    console.print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


@app.command()
def table(suite: SuiteOption = "quick", results: ResultsOption = Path("results")) -> None:
    """Write the tables again from stored results; print the summary and what it says in words."""
    folder = results / Path(suite).stem
    with clear_errors():
        from benchmark.analysis.tables import write_tables
        from benchmark.drawing import read
        from benchmark.results import save_frame

        stored = read(folder)
        save_frame(stored)
        paths = write_tables(stored, folder / "tables")
    _print_summary(stored)
    _print_verdicts(stored)
    _print_paths(paths)


@app.command()
def plot(
    suite: SuiteOption = "quick",
    results: ResultsOption = Path("results"),
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="Only this (repeatable).")
    ] = None,
) -> None:
    """Draw the figures again from stored results; PNG alone takes a third of the time."""
    folder = results / Path(suite).stem
    with clear_errors():
        from benchmark.analysis.figures import write_figures
        from benchmark.drawing import FORMATS, processes, read

        stored = read(folder)
        paths = write_figures(stored, folder / "figures", formats or FORMATS, processes())
    _print_paths(paths)


@app.command(name="report")
def report_command(suite: SuiteOption = "quick", results: ResultsOption = Path("results")) -> None:
    """Write one HTML page of the stored results; it needs no network."""
    with clear_errors():
        from benchmark.drawing import read, report

        path = report(read(results / Path(suite).stem))
    _print_paths([path])


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A suite's results, e.g. results/quick.")],
    b: Annotated[Path, typer.Argument(help="Results of the same tasks: yours, another version.")],
    as_json: JsonOption = False,
) -> None:
    """Set two result sets side by side: values, differences, and where they come from."""
    with clear_errors():
        from benchmark.analysis.side_by_side import compare as set_side_by_side
        from benchmark.drawing import read

        found = set_side_by_side(read(a), read(b))
    if as_json:
        rows = json.loads(found.data.to_json(orient="records"))
        typer.echo(
            json.dumps({"rows": rows, "refused": found.refused, "differences": found.differences})
        )
    else:
        _show(found.text.to_dict("records"), as_json=False)
        for title, lines in (
            ("A against B, where they differ:", found.differences),
            ("Refused:", found.refused),
        ):
            if lines:
                console.print(Text(f"\n{title}", style="bold"))
                _print_lines(lines)
    if found.data.empty:
        errors.print("nothing to compare: no task and method with results in both")
        raise typer.Exit(1)


@app.command()
def merge(
    target: Annotated[Path, typer.Argument(help="Suite folder to merge into; made if missing.")],
    sources: Annotated[list[Path], typer.Argument(help="Suite folders with runs to add.")],
) -> None:
    """Join results made on different machines; refuses conflicts before writing anything."""
    with clear_errors():
        from benchmark.drawing import read
        from benchmark.merge import merge as join
        from benchmark.results import save_frame

        done = join(target, sources)
        frame = save_frame(read(target))
    console.print(
        f"{done.added} runs added, {done.present} were there already"
        + (f"; {done.unfinished} of the added ones are not finished" if done.unfinished else ""),
        highlight=False,
    )
    _print_paths([frame])


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="SQLite file to make.")],
    suite: SuiteOption = "quick",
    results: ResultsOption = Path("results"),
) -> None:
    """Write all runs of a suite as Optuna studies, for optuna-dashboard."""
    with clear_errors():
        from benchmark.export import export as write_studies
        from benchmark.results import load

        count = write_studies(load(results / Path(suite).stem), path)
    console.print(f"{count} studies in sqlite:///{path}", soft_wrap=True, highlight=False)


@app.command()
def cite(
    methods: Annotated[list[str] | None, typer.Argument(help="Methods; default: all.")] = None,
) -> None:
    """Print BibTeX of the suite and of methods."""
    with clear_errors():
        from benchmark import citations

        typer.echo(citations.bibliography(methods or ()))


@app.command()
def check(name: str) -> None:
    """Run the contract suite on one method (name or .py file) or task."""
    with clear_errors():
        from benchmark import contract

        failures = 0
        for title, problem in contract.check(name):
            mark, style = ("ok", "green") if problem is None else ("FAILED", "bold red")
            console.print(Text(f"{mark:>6}", style=style), Text(title))
            if problem is not None:
                failures += 1
                console.print(Text(f"       {problem}"), soft_wrap=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def prepare(
    suite: Annotated[str, typer.Argument(help="Shipped suite, or a TOML file.")],
    check_only: Annotated[
        bool, typer.Option("--check", help="Fetch nothing: only say what is missing or damaged.")
    ] = False,
) -> None:
    """Fetch and verify the weights and data that the tasks of a suite need."""
    problems = []
    with clear_errors():
        from benchmark import prepare as preparing
        from benchmark.suite import load

        chosen = load(suite)
        for finding in preparing.prepare(chosen, fetch=not check_only):
            _show_finding(finding)
            if finding.problem:
                problems.append(finding.line)
        problems = problems or preparing.unavailable(chosen)
    for problem in problems:
        _complain(problem)
    if problems:
        raise typer.Exit(1)
    console.print(f"suite {chosen.name}: everything is here")


def _show_finding(finding: Finding) -> None:
    asset = finding.asset
    style = "red" if finding.problem else "green"
    console.print(Text(f"{finding.state:>9}", style=style), Text(asset.name, style="bold"))
    for label, value in (
        ("for", ", ".join(finding.tasks)),
        ("in", asset.place or f"optional: {asset.remedy}"),
        ("licence", asset.licence),
        ("size", asset.size),
        ("hashes", asset.hashes),
    ):
        console.print(Text(f"{label:>17}: {value}"), soft_wrap=True)


@app.command(name="new-method")
def new_method(
    name: str, folder: Annotated[Path | None, typer.Option(help="Where to write it.")] = None
) -> None:
    """Write a commented method file that passes `check`."""
    with clear_errors():
        from benchmark import template

        path = template.write(name, folder)
    console.print(f"wrote {path}", soft_wrap=True, highlight=False)
    console.print(f"try it: python -m benchmark check {path}", soft_wrap=True, highlight=False)


def main() -> None:
    """Entry point: whatever goes wrong is said in one line, or in full with `--debug`."""
    try:
        name = "benchmark" if sys.argv[0].endswith("benchmark") else "python -m benchmark"
        app([argument for argument in sys.argv[1:] if argument != "--debug"], prog_name=name)
    except KeyboardInterrupt:  # before or after what a command does about it
        sys.exit(130)
    except Exception as error:
        if _debugging():
            raise
        _complain(f"{type(error).__name__}: {error} (run with --debug for the traceback)")
        sys.exit(1)


def _device(asked: str | None, executor: str) -> str:
    """The device asked for, or the best of this machine; workers elsewhere look for themselves."""
    from benchmark.cluster import LOCAL
    from benchmark.session import SessionError, default_device

    if asked is None:
        return default_device()
    if asked != "cpu" and not asked.startswith("cuda"):
        raise SessionError(f"--device must be cpu or cuda, got {asked!r}")
    if asked.startswith("cuda") and executor == LOCAL:
        import torch

        if not torch.cuda.is_available():
            raise SessionError(f"--device {asked}: this machine has no usable CUDA device")
    return asked


def _print_least_time(plan: Plan, workers: int) -> None:
    """Wall time of the budgets alone, with a few numbers of workers and with `workers`."""
    from benchmark.live import clock_time

    counts = {n for n in (1, 2, 4, 8) if n <= len(plan.pending)} | {max(workers, 1)}
    times = [f"{clock_time(plan.least_hours(n) * 3600)} with {n}" for n in sorted(counts)]
    console.print(
        f"wall time at least (setup and evaluations on top), by workers: {', '.join(times)}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def _announce(plan: Plan, suite: Suite, executor: Executor, device: str) -> None:
    budgets = {entry.name: entry.budget * 3600 for entry in suite.tasks}
    for name, seconds in budgets.items():
        labels = [method.label for task, method in suite.pairs() if task.name == name]
        console.print(
            f"{name}: {len(labels)} methods x {suite.seeds} seeds x {_amount(seconds)} "
            f"of {device} time: {', '.join(labels)}",
            soft_wrap=True, highlight=False, markup=False,
        )  # fmt: skip
    console.print(
        f"{len(plan.specs)} runs, {len(plan.pending)} to do in {executor.describe()}: "
        f"{plan.gpu_hours:.3g} device-hours to spend",
        highlight=False,
    )
    if plan.failed:
        console.print(f"{len(plan.failed)} failed earlier; --retry-failed runs them again")


def _amount(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 3600:.3g} h"


def _print_summary(stored: Results) -> None:
    from benchmark.analysis.tables import summary

    frame = summary(stored)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in frame.columns:
        table.add_column(str(column))
    for row in frame.astype(str).itertuples(index=False):
        table.add_row(*(Text(value) for value in row))
    console.print(table)


def _print_verdicts(stored: Results) -> None:
    from benchmark.analysis.verdict import verdicts

    for verdict in verdicts(stored):
        console.print(Text(f"\n{verdict.title}", style="bold"))
        for sentence in verdict.sentences:
            console.print(Text(sentence), soft_wrap=not console.is_terminal)
    console.print()


def _print_paths(paths: list[Path]) -> None:
    _print_lines([str(path) for path in paths])


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _show(rows: list[dict[Any, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    console.print(table)
