"""Two result sets as tables of strings, one per task."""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchmark.analysis.side_by_side import PAIRED
from benchmark.display import formatting
from benchmark.study.model import Study


def tables(study: Study, data: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`SideBySide.data` by task and metric."""
    found = {}
    for task, rows in data.groupby("task", sort=False):
        metric = study.task(str(task)).primary
        effect = "ratio B / A" if metric.log else "difference B - A"
        shown = [
            {
                "method": row["method"],
                "A (n)": _mean(row, "a"),
                "B (n)": _mean(row, "b"),
                effect: formatting.estimate(row["effect"], row["low"], row["high"]),
                "p (Holm)": formatting.number(row["p_holm"], 2),
                "test": row["test"] + (f", {row['n']} pairs" if row["test"] == PAIRED else ""),
                "differs": "yes" if row["differs"] else "not shown",
            }
            for row in rows.to_dict("records")
        ]
        found[f"{task}, {metric.title}"] = pd.DataFrame(shown)
    return found


def _mean(row: dict[Any, Any], side: str) -> str:
    numbers = (row[f"{part}_{side}"] for part in ("mean", "low", "high"))
    failed = f", {row[f'failed_{side}']} failed" if row[f"failed_{side}"] else ""
    return f"{formatting.estimate(*numbers)} ({row[f'n_{side}']}{failed})"
