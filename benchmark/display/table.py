"""One table: made once, shown on a terminal, in CSV, Markdown and LaTeX files, and on the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from benchmark.display.layout import layout

Row = dict[Any, Any]


@dataclass(frozen=True)
class Cell:
    """A text, and what to sort by; cells without a value stand last."""

    text: str
    key: float | None = None
    method: str | None = None
    """Label of the method that the cell names."""


@dataclass(frozen=True)
class Column:
    """A title, how its cells follow from rows of numbers, and what it means."""

    title: str
    cell: Callable[[Row], Cell]
    meaning: str = ""


@dataclass(frozen=True)
class Block:
    """The rows about one task, or about all."""

    task: str
    columns: Sequence[Column]
    numbers: Sequence[Row]
    caption: str = ""
    """A note on this task alone."""

    @cached_property
    def rows(self) -> list[list[Cell]]:
        """The cells of every row."""
        return [[column.cell(row) for column in self.columns] for row in self.numbers]

    @property
    def titles(self) -> list[str]:
        return [column.title for column in self.columns]

    def texts(self, written: Callable[[str], str] = str) -> pd.DataFrame:
        """What the cells say, each text passed through `written`."""
        texts = [[written(cell.text) for cell in row] for row in self.rows]
        return pd.DataFrame(texts, columns=list(map(written, self.titles)), dtype=object)


@dataclass(frozen=True)
class Table:
    """A caption, blocks of cells, and all numbers at full precision."""

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    blocks: Sequence[Block] = field(default_factory=tuple)

    def block(self, task: str) -> Block | None:
        """The rows about one task."""
        return next((block for block in self.blocks if block.task == task), None)

    @property
    def explained(self) -> str:
        """The caption, the meanings of all columns, each said once, and notes on single tasks."""
        meanings = [
            f"{column.title}: {column.meaning}."
            for block in self.blocks
            for column in block.columns
            if column.meaning
        ]
        notes = [block.caption for block in self.blocks if block.caption]
        return " ".join([self.caption, *dict.fromkeys(meanings), *notes])


def terminal(block: Block, width: int) -> list[str]:
    """Lines of at most `width` cells, of which nothing is cut; see `layout`."""
    return layout(block.titles, [[cell.text for cell in row] for row in block.rows], width)


def csv(table: Table) -> str:
    """The numbers at full precision."""
    return str(table.data.to_csv(index=False, lineterminator="\n"))


def markdown(table: Table) -> str:
    """A pipe table per task; the explanation first."""
    parts = [_one_line(table.explained)]
    for block in table.blocks:
        rows = block.texts(literal).to_markdown(index=False, disable_numparse=True)
        parts += [f"**{literal(block.task)}**", str(rows)]
    return "\n\n".join(parts) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def literal(text: str) -> str:
    """On one line, and never markup of Markdown."""
    return "".join(f"\\{c}" if c in "\\|`*_<>[]#" else c for c in _one_line(text))


# -- LaTeX -------------------------------------------------------------------------------------

_GREEK = {
    "\N{GREEK SMALL LETTER ALPHA}": "alpha", "β": "beta", "\N{GREEK SMALL LETTER GAMMA}": "gamma",
    "δ": "delta", "ε": "varepsilon", "η": "eta", "θ": "theta", "λ": "lambda", "μ": "mu",
    "\N{GREEK SMALL LETTER SIGMA}": "sigma", "τ": "tau", "φ": "varphi",
}  # fmt: skip
_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}",
        "↑": r"$\uparrow$", "↓": r"$\downarrow$", "‖": r"$\Vert$",
        "\N{MULTIPLICATION SIGN}": r"$\times$", "†": r"$\dagger$", "…": r"\ldots{}",
        **{symbol: f"\\{symbol}" for symbol in "&%$#_{}"},
        **{letter: f"$\\{name}$" for letter, name in _GREEK.items()},
    }
)  # fmt: skip


def escape(text: str) -> str:
    """`text` with LaTeX's special characters, brackets and common symbols made literal.

    A bracket is braced, because at the start of a row `\\\\` would take it for an argument.
    """
    return _one_line(text).translate(_SPECIAL)


def latex(table: Table) -> str:
    """A `table` float with one `tabular` per task; needs `\\usepackage{booktabs}`."""
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}[tb]",
        r"\centering\footnotesize",
        rf"\caption{{{escape(table.explained)}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
    ]
    for block in table.blocks:
        rows = block.texts(escape).to_latex(
            index=False, escape=False, column_format="l" * len(block.columns)
        )
        lines += [rf"\textbf{{{escape(block.task)}}}\par\smallskip", rows + r"\par\medskip"]
    return "\n".join([*lines, r"\end{table}", ""])
