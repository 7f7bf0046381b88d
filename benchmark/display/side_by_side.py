"""Two result sets as one table, with a block per task."""

from __future__ import annotations

import pandas as pd

from benchmark.analysis.side_by_side import EXPLANATION, PAIRED
from benchmark.display import columns
from benchmark.display.formatting import estimate
from benchmark.display.table import Block, Cell, Column, Row, Table
from benchmark.study.model import Study


def side_by_side(study: Study, data: pd.DataFrame) -> Table:
    """`SideBySide.data` by task; names of methods and metrics are those of `study`."""
    blocks = []
    for task, rows in data.groupby("task", sort=False):
        metric = study.task(str(task)).primary
        effect = "ratio B / A" if metric.log else "difference B - A"
        shown = [
            columns.named(study),
            Column("A (n)", lambda row: _mean(row, "a")),
            Column("B (n)", lambda row: _mean(row, "b")),
            columns.interval(effect, "effect"),
            columns.p_value("p (Holm)", "p_holm"),
            Column("test", _test),
            Column("differs", lambda row: Cell("yes" if row["differs"] else "not shown")),
        ]
        blocks.append(Block(f"{task}, {metric.title}", shown, rows.to_dict("records")))
    return Table("compare", "Two result sets", EXPLANATION, data, blocks)


def _test(row: Row) -> Cell:
    return Cell(row["test"] + (f", {row['n']} pairs" if row["test"] == PAIRED else ""))


def _mean(row: Row, side: str) -> Cell:
    numbers = (row[f"{part}_{side}"] for part in ("mean", "low", "high"))
    failed = f", {row[f'failed_{side}']} failed" if row[f"failed_{side}"] else ""
    return Cell(f"{estimate(*numbers)} ({row[f'n_{side}']}{failed})")
