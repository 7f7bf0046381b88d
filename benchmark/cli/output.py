"""Output of commands: a console for results, one for errors, and tables of plain text."""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import typer
from rich.console import Console
from rich.text import Text

from benchmark.errors import UserError

SPELLED = {
    "↑": "^", "↓": "v", "†": "+", "…": "...", "λ": "lambda", "τ": "tau", "ᾱ": "alpha",
    "\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-", "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip
"""Characters of tables and messages, for terminals that cannot show them."""


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Write what a terminal's code page lacks in other letters, or as its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    spelled = "".join(SPELLED.get(c, c.encode(errors="backslashreplace").decode()) for c in lacking)
    return spelled.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("spell", _spell)
for _stream in (sys.stdout, sys.stderr):
    if isinstance(_stream, io.TextIOWrapper):
        _stream.reconfigure(errors="spell")


def plain(file: TextIO | None = None, **options: Any) -> Console:
    """A console that takes text as it is: brackets and colons of a user are no markup."""
    return Console(file=file, markup=False, highlight=False, emoji=False, **options)


_out, _err = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()  # closed ones take all
WIDE = None if _out.isatty() else 200  # a pipe or a file has no width to fit into
console = plain(_out, width=WIDE)  # for good: runs redirect what methods print
errors = plain(_err)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show an error that the user can act on as one line, and exit with code 2."""
    try:
        yield
    except (UserError, OSError) as error:
        if debugging() or isinstance(error, BrokenPipeError):  # nobody reads on, as with `head`
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


def complain(message: str) -> None:
    errors.print(Text(f"error: {' '.join(message.split())}", style="red"), soft_wrap=True)


def debugging() -> bool:
    return "--debug" in sys.argv


def print_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal, of which nothing is cut; see `layout`."""
    from benchmark.display.layout import layout

    print_lines(layout(head, rows, console.width))


def print_rows(rows: list[dict[Any, Any]]) -> None:
    if rows:
        print_columns(list(rows[0]), [list(map(str, row.values())) for row in rows])


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))


def print_title(title: str) -> None:
    console.print(Text(f"\n{title}", style="bold"))


def print_lines(lines: Iterable[object]) -> None:
    for line in lines:
        console.print(Text(str(line)), soft_wrap=True)
