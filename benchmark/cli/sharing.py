"""Commands on results that are given away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from benchmark.cli import output


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
