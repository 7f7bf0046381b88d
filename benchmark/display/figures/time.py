"""Where the GPU-hours went: training, sampling, scoring, gradients, and the optimiser itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmark.analysis import measures
from benchmark.display import style
from benchmark.display.figures import layout
from benchmark.study.model import SECONDS_PER_HOUR, Study

FREE = "evaluation, not charged"


def draw(study: Study) -> Figure:
    """One panel per task, one bar per method: kinds of work by charged time, and what the
    harness's own evaluations took on top."""
    tasks, methods = list(study.tasks), list(study.methods)
    table = measures.operations(study)
    fills = _fills(list(dict.fromkeys(table["kind"])))
    note = (
        "Device time of a run by kind of work, mean over seeds, "
        f"{layout.seeds_note(table['n'])}. Optimiser overhead: the method's own code, between the "
        "operations that a task offers. On top, white: evaluations of the reported metrics, "
        "which nobody is charged for. Dashed: the budget. Operations behind each kind: "
        "tables/operations."
    ) + layout.not_ranked_note(study, methods)
    figure, grid = layout.row_panels(len(tasks), len(methods), 0.17, note, legend=list(fills))
    free = measures.ledgers(study).set_index(["task", "method"])["evaluation_s"]
    seconds = table.groupby(["task", "kind", "method"])["seconds"].sum()
    for axes, task in zip(grid, tasks, strict=True):
        axes.set_title(task)
        layout.method_rows(axes, study, methods, task)
        unit = study.task(task).unit
        left = np.zeros(len(methods))
        for name, fill in fills.items():
            own = free if name == FREE else seconds.xs(name, level="kind")
            width = _by_method(own, task, methods) / SECONDS_PER_HOUR * unit.per_hour
            if width.any():
                axes.barh(range(len(methods)), width, left=left, height=0.7, lw=0.4, **fill)
                left += width
        if left.any():
            layout.plain_ticks(axes, "x", log=False)
            budget = study.task(task).budget * unit.per_hour
            axes.axvline(budget, color="#555555", lw=0.8, ls="--", zorder=3)
            axes.set_xlim(0, max(budget, left.max()) * 1.03)
            axes.set_xlabel(unit.label)
        else:
            layout.nothing(axes)
    layout.add_legend(figure, [Patch(label=name, lw=0.4, **fill) for name, fill in fills.items()])
    layout.add_note(figure, note)
    return figure


def _fills(kinds: list[str]) -> dict[str, dict[str, Any]]:
    """Kinds in the order of the bars: known ones, others, the free ledger."""
    known = [name for name in measures.KINDS if name in kinds]
    others = sorted(name for name in kinds if name not in measures.KINDS)
    return {name: style.kind(name, place) for place, name in enumerate([*known, *others, FREE])}


def _by_method(seconds: pd.Series, task: str, methods: list[str]) -> np.ndarray:
    own = seconds.xs(task, level="task") if task in seconds.index.get_level_values("task") else None
    if own is None:
        return np.zeros(len(methods))
    found: np.ndarray = own.reindex(methods).fillna(0.0).to_numpy()
    return found
