"""Commands that give results away, take those of others, and check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from benchmark.cli import output
from benchmark.cli.options import ResultsOption, SuiteOption


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    suite: SuiteOption = "quick",
    results: ResultsOption = Path("results"),
    push: Annotated[
        str | None, typer.Option(help="USER/NAME of a Hugging Face data set to upload it to.")
    ] = None,
) -> None:
    """Write packed results, tables, figures and a card as a data set; uploads it only if asked."""
    from benchmark.display import publish as publishing
    from benchmark.study.stored import locate, open_suite

    written = publishing.publish(open_suite(locate(results, suite)), folder)
    output.print_lines([f"{len(written)} files in {folder}, card: {written[0]}"])
    if push:
        output.print_lines([publishing.push(folder, push)])


def fetch(
    repository: Annotated[str, typer.Argument(help="USER/NAME of a Hugging Face data set.")],
    folder: Annotated[Path, typer.Argument(help="Folder for its packed suites.")],
) -> None:
    """Download published results, to be read with `--results FOLDER`."""
    from benchmark.display.publish import fetch as download

    output.print_lines(download(repository, folder))


def verify(
    results: Annotated[Path, typer.Argument(help="A suite's folder, or a packed suite.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each task and method.")] = 2,
) -> None:
    """Repeat some of the stored runs, and say of each whether it comes out as it is stored."""
    from collections import Counter

    from benchmark.contract import results as checking

    counts: Counter[str] = Counter()
    for found in checking.verify(results, seeds):
        counts[found.outcome] += 1
        style = {checking.AGREES: "green", checking.DIFFERS: "bold red"}.get(
            found.outcome, "yellow"
        )
        line = Text(f"{found.outcome:>12}", style=style)
        output.console.print(line, Text(f"{found.place}: {found.reason}"), soft_wrap=True)
    output.print_lines([", ".join(f"{count} {name}" for name, count in counts.items())])
    if counts[checking.DIFFERS] or counts.keys() <= {checking.NOT_REPEATED}:
        raise typer.Exit(1)
