"""Commands that read stored results: they run nothing."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from benchmark.cli import output
from benchmark.cli.options import JsonOption, ResultsOption, SuiteOption

if TYPE_CHECKING:
    from benchmark.display.table import Table
    from benchmark.study.model import Study


class Format(StrEnum):
    png = "png"
    pdf = "pdf"
    svg = "svg"


def status(suite: SuiteOption = "quick", results: ResultsOption = Path("results")) -> None:
    """Show every run of a suite: how far it is, or why it ended."""
    from benchmark.engine.estimate import clock_time
    from benchmark.study.stored import locate
    from benchmark.study.survey import survey

    states = survey(locate(results, suite))
    rows = []
    for state in states:
        used = "-" if state.used is None else f"{state.used:.0%}"
        silent = "-" if state.silent is None else f"{clock_time(state.silent)} ago"
        where = f" (traceback in {state.error})" if state.error else ""
        rows.append((
            state.task, state.method, state.seed, state.status, used,
            "" if state.status == "finished" else silent, f"{state.reason}{where}",
        ))  # fmt: skip
    head = ("task", "method", "seed", "status", "budget used", "last sign of life", "reason")
    output.print_columns(head, rows)
    counts = Counter(state.status for state in states)
    output.console.print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


def table(suite: SuiteOption = "quick", results: ResultsOption = Path("results")) -> None:
    """Print the summary and what it says in words, and write the tables again."""
    stored = _load(results, suite)
    print_summary(stored)
    _print_verdicts(stored)
    with output.after_printing():
        from benchmark.display.tables import write_tables
        from benchmark.study.results import save_frame

        save_frame(stored)
        output.print_lines(write_tables(stored, stored.folder / "tables"))


def _load(results: Path, suite: str) -> Study:
    from benchmark.study.model import Study
    from benchmark.study.stored import locate

    return Study.load(locate(results, suite))


def print_summary(stored: Study) -> None:
    from benchmark.display.tables import summary

    print_table(summary(stored))


def print_table(shown: Table) -> None:
    from benchmark.display.table import terminal

    for block in shown.blocks:
        output.print_title(block.task)
        output.print_lines(terminal(block, output.console.width))


def _print_verdicts(stored: Study) -> None:
    from benchmark.analysis.verdict import EXPLANATION, verdict, verdicts

    output.console.print()
    output.print_lines([*verdict(stored), EXPLANATION])
    for found in verdicts(stored):
        output.print_title(found.task)
        for sentence in [found.headline, *found.sentences]:
            output.console.print(Text(sentence), soft_wrap=not output.console.is_terminal)
    output.console.print()


def plot(
    suite: SuiteOption = "quick",
    results: ResultsOption = Path("results"),
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="Only this (repeatable).")
    ] = None,
    figure: Annotated[
        str, typer.Option(help="Only those whose names fit this pattern: 'anytime', '*digits'.")
    ] = "*",
) -> None:
    """Draw the figures again from stored results; PNG alone takes a third of the time."""
    from benchmark.display import FORMATS
    from benchmark.display.figures import write_figures

    stored = _load(results, suite)
    folder = stored.folder / "figures"
    output.print_lines(write_figures(stored, folder, formats or FORMATS, figure))


def report(suite: SuiteOption = "quick", results: ResultsOption = Path("results")) -> None:
    """Write one HTML page of the stored results; it needs no network."""
    from benchmark.analysis.verdict import verdict
    from benchmark.display.page import write_report

    stored = _load(results, suite)
    output.print_lines([*verdict(stored), ""])
    output.print_lines([write_report(stored, stored.folder)])


def compare(
    a: Annotated[Path, typer.Argument(help="A suite's results: a folder or a packed suite.")],
    b: Annotated[Path, typer.Argument(help="Results of the same tasks: yours, another version.")],
    as_json: JsonOption = False,
) -> None:
    """Set two result sets side by side: values, differences, and where they come from."""
    from benchmark.analysis.side_by_side import compare as set_side_by_side
    from benchmark.display.side_by_side import side_by_side
    from benchmark.study.model import Study

    first = Study.load(a)
    found = set_side_by_side(first, Study.load(b))
    shown = side_by_side(first, found.data)
    if as_json:
        rows = json.loads(found.data.to_json(orient="records"))
        output.print_json(
            {"rows": rows, "refused": found.refused, "differences": found.differences}
        )
    else:
        output.print_lines([f"A: {a}", f"B: {b}", found.conclusion])
        print_table(shown)
        for title, lines in (
            ("How to read it:", [shown.caption] if shown.blocks else []),
            ("Where A and B come from, as far as it differs:", found.differences),
            ("Refused:", found.refused),
        ):
            if lines:
                output.print_title(title)
                output.print_lines(lines)
    if found.data.empty:
        output.errors.print("nothing to compare: no task and method with results in both")
        raise typer.Exit(1)


def merge(
    target: Annotated[Path, typer.Argument(help="Suite folder to merge into; made if missing.")],
    sources: Annotated[list[Path], typer.Argument(help="Suite folders or packed suites to add.")],
    dry_run: Annotated[bool, typer.Option(help="Check, and write nothing.")] = False,
) -> None:
    """Join results made on different machines; refuses conflicts before writing anything."""
    from benchmark.study.merge import merge as join
    from benchmark.study.model import Study
    from benchmark.study.results import save_frame

    done = join(target, sources, dry_run)
    unfinished = f"; {done.unfinished} of the added ones are not finished" * bool(done.unfinished)
    added = f"{done.added} runs {'would be ' * dry_run}added"
    output.print_lines([f"{added}, {done.present} were there already{unfinished}"])
    if dry_run:
        return
    merged = Study.load(target)
    with output.after_printing():
        output.print_lines([save_frame(merged)])


def pack(
    folder: Annotated[Path, typer.Argument(help="Suite folder with runs.")],
    file: Annotated[
        Path | None, typer.Argument(help="Packed suite to write; FOLDER.parquet if left out.")
    ] = None,
) -> None:
    """Write all runs of a suite into one file, which every reading command takes."""
    from benchmark.study.pack import pack as write_pack
    from benchmark.study.stored import PACKED, open_suite

    target = file or folder.with_name(folder.name + PACKED)
    count = write_pack(open_suite(folder), target)
    size = target.stat().st_size / 1e6
    output.print_lines([f"{count} runs in {target}, {size:.1f} MB"])


def unpack(
    file: Annotated[Path, typer.Argument(help="Packed suite.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Suite folder to make; FILE less its ending if left out.")
    ] = None,
) -> None:
    """Restore the run folders of a packed suite, so that its runs can be continued."""
    from benchmark.study.merge import merge as join
    from benchmark.study.stored import PACKED

    target = folder or file.with_name(file.name.removesuffix(PACKED))
    done = join(target, [file])
    output.print_lines([f"{done.added} runs in {target}, {done.present} were there already"])


def export(
    path: Annotated[Path, typer.Argument(help="Optuna journal to make.")],
    suite: SuiteOption = "quick",
    results: ResultsOption = Path("results"),
    follow: Annotated[
        bool, typer.Option("--follow", help="Append what runs record, until Ctrl-C.")
    ] = False,
) -> None:
    """Write all runs of a suite as Optuna studies, for optuna-dashboard."""
    from benchmark.study.export import export as write_studies

    later = _grown(results, suite, path) if follow else ()
    count = write_studies(_load(results, suite), path, later)
    output.print_lines([f"{count} studies in {path}"])


def _grown(results: Path, suite: str, path: Path) -> Iterator[Study]:
    """The suite's results again and again, as runs add to them."""
    from benchmark.files import BadResults
    from benchmark.watching import SPACING

    output.print_lines([f"{path} follows the runs; Ctrl-C ends it"])
    while True:
        time.sleep(SPACING)
        with suppress(BadResults):  # a folder in the making
            yield _load(results, suite)
