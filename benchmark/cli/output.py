"""What commands show: a console for results, one for errors, and tables of plain text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = None if sys.stdout.isatty() else 200  # a pipe or a file has no width to fit into
console = Console(width=WIDE, file=sys.stdout)  # for good: runs redirect what methods print
errors = Console(file=sys.stderr)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show an error that the user can act on as one line, and exit with code 2."""
    try:
        yield
    except Exception as error:
        if debugging() or not isinstance(error, _actionable()):
            raise
        complain(str(error) or type(error).__name__)  # a TimeoutError of Dask says nothing
        raise typer.Exit(2) from None


@contextmanager
def after_printing() -> Iterator[None]:
    """For what a command writes beside what it has printed: if it cannot, one line says so."""
    try:
        yield
    except OSError as error:
        if debugging():
            raise
        errors.print(Text(f"not written: {error}", style="yellow"), soft_wrap=True)


def _actionable() -> tuple[type[Exception], ...]:
    """Errors that the user can act on; imports most of the harness, so only where one happened."""
    from benchmark.errors import UserError
    from benchmark.files import BadResults
    from benchmark.registry import BrokenModule, UnknownName
    from benchmark.runs.folder import Busy
    from benchmark.runs.spec import SpecMismatch
    from benchmark.study.merge import MergeError
    from benchmark.suite import SuiteError

    return (
        UserError, BrokenModule, UnknownName, SpecMismatch, SuiteError, MergeError, Busy,
        BadResults, OSError,
    )  # fmt: skip


def complain(message: str) -> None:
    errors.print(Text(f"error: {' '.join(message.split())}", style="red"), soft_wrap=True)


def debugging() -> bool:
    return "--debug" in sys.argv


def print_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of thousands of rows: rich would take seconds to lay out their cells."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    first, *rest = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )
    console.print(Text(first, style="bold"), soft_wrap=True)
    console.file.writelines(f"{' '.join(line.splitlines())}\n" for line in rest)


def print_rows(rows: list[dict[Any, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    console.print(table)


def print_paths(paths: list[Path]) -> None:
    print_lines([str(path) for path in paths])


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
