"""Booktabs tables that compile as they are: escaped, grouped by task."""

from __future__ import annotations

import pandas as pd

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "η": "eta",  # noqa: RUF001
    "θ": "theta", "λ": "lambda", "μ": "mu", "σ": "sigma", "τ": "tau", "φ": "varphi",  # noqa: RUF001
}  # fmt: skip
_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}",
        "↑": r"$\uparrow$", "↓": r"$\downarrow$", "‖": r"$\Vert$", "×": r"$\times$",  # noqa: RUF001
        **{symbol: f"\\{symbol}" for symbol in "&%$#_{}"},
        **{letter: f"$\\{name}$" for letter, name in _GREEK.items()},
    }
)  # fmt: skip


def escape(text: str) -> str:
    """`text` with LaTeX's special characters, brackets and common symbols made literal.

    A bracket is braced, because at the start of a row `\\\\` would take it for an argument.
    """
    return text.translate(_SPECIAL)


def table(frame: pd.DataFrame, caption: str, name: str) -> str:
    """A `table` float of strings, one block per task; needs `\\usepackage{booktabs}`."""
    columns = [column for column in frame.columns if column != "task"]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}[tb]",
        r"\centering\footnotesize",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{name.replace('_', '-')}}}",
        rf"\begin{{tabular}}{{{'l' * len(columns)}}}",
        r"\toprule",
        _row(columns),
    ]
    for task, rows in frame.groupby("task", sort=False):
        heading = rf"\multicolumn{{{len(columns)}}}{{l}}{{\textbf{{{escape(str(task))}}}}} \\"
        lines += [r"\midrule", heading]
        lines += [_row(cells) for cells in rows[columns].to_numpy().tolist()]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return " & ".join(escape(str(cell)) for cell in cells) + r" \\"
