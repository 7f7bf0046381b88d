"""One table: made once, shown on a terminal, in CSV, Markdown and LaTeX files, and on the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from benchmark.display.layout import layout

MISSING = "-"


@dataclass(frozen=True)
class Cell:
    """A text, and what to sort by; cells without a value stand last."""

    text: str
    key: float | None = None
    method: str | None = None
    """Label of the method that the cell names."""
    interval: tuple[float, float, float] | None = None
    """Low, value and high, which the page also draws; see `Column.axis`."""


@dataclass(frozen=True)
class Column:
    """A title, what it means, and the axis on which the page draws its intervals."""

    title: str
    meaning: str = ""
    axis: tuple[float, float, bool] | None = None
    """Both ends, and whether it is logarithmic."""


@dataclass(frozen=True)
class Block:
    """The rows about one task, or about all."""

    task: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    """A note on this task alone."""


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
        """The caption with the meanings of all columns."""
        return " ".join([self.caption, *meanings(self.blocks)])


def meanings(blocks: Iterable[Block]) -> list[str]:
    """What columns and blocks mean, each said once."""
    said = {
        f"{column.title}: {column.meaning}.": None
        for block in blocks
        for column in block.columns
        if column.meaning
    }
    return [*said, *(block.caption for block in blocks if block.caption)]


def csv(table: Table) -> str:
    """The numbers at full precision."""
    return str(table.data.to_csv(index=False, lineterminator="\n"))


def markdown(table: Table) -> str:
    """A pipe table per task; the explanation first."""
    parts = [_plain(table.explained)]
    for block in table.blocks:
        lines = [[column.title for column in block.columns], ["---"] * len(block.columns)]
        lines += [[cell.text for cell in row] for row in block.rows]
        parts.append(f"**{_escaped(block.task)}**")
        parts.append(
            "\n".join(
                "| " + " | ".join(part if part == "---" else _escaped(part) for part in line) + " |"
                for line in lines
            )
        )
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    """On one line, and never markup."""
    return "".join(f"\\{c}" if c in "\\|`*_<>[]#" else c for c in _plain(text))


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
    return _plain(text).translate(_SPECIAL)


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
        count = len(block.columns)
        lines += [
            rf"\begin{{tabular}}{{{'l' * count}}}",
            r"\toprule",
            rf"\multicolumn{{{count}}}{{l}}{{\textbf{{{escape(block.task)}}}}} \\",
            _line(column.title for column in block.columns),
            r"\midrule",
            *(_line(cell.text for cell in row) for row in block.rows),
            r"\bottomrule",
            r"\end{tabular}\par\medskip",
        ]
    return "\n".join([*lines, r"\end{table}", ""])


def _line(cells: Iterable[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"


def terminal(block: Block, width: int) -> list[str]:
    """Lines of at most `width` cells. Nothing is cut: columns that do not fit beside the first one
    follow below it, again with the first one, and longer texts go on in the next line."""
    return layout(
        [column.title for column in block.columns],
        [[cell.text for cell in row] for row in block.rows],
        width,
    )


def frame(table: Table) -> pd.DataFrame:
    """The texts of all blocks, with the task in front."""
    rows = [
        {"task": block.task}
        | {c.title: cell.text for c, cell in zip(block.columns, row, strict=True)}
        for block in table.blocks
        for titles in [[column.title for column in block.columns]]
        for row in block.rows
    ]
    return pd.DataFrame(rows)
