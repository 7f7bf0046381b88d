"""Where the charged device time went: stacked bars by primitive operation."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmark.analysis import contents, measures, style
from benchmark.analysis.figures import layout
from benchmark.results import Results

OVERHEAD = "overhead"


def draw(results: Results) -> Figure:
    """One panel per task, one bar per method; the method's own code comes last."""
    tasks, methods = contents.task_names(results), contents.method_names(results)
    table = measures.operations(results)
    names = [name for name in dict.fromkeys(table["operation"]) if name != OVERHEAD]
    fills: dict[str, dict[str, Any]] = {
        name: style.operation(position) for position, name in enumerate(sorted(names))
    }
    fills[OVERHEAD] = {"color": style.OVERHEAD_COLOUR, "hatch": ""}
    note = (
        "Charged device time of a run by primitive operation, mean over seeds, "
        f"{layout.seeds_note(table['n'])}; overhead: the method's own code. "
        "Dashed: the budget."
    )
    figure, grid = layout.row_panels(len(tasks), len(methods), 0.17, note, legend=list(fills))
    for axes, task in zip(grid, tasks, strict=True):
        axes.set_title(task)
        layout.method_rows(axes, methods)
        unit = contents.unit(results, task)
        left = np.zeros(len(methods))
        for name, fill in fills.items():
            rows = table[(table["task"] == task) & (table["operation"] == name)]
            seconds = rows.set_index("method")["seconds"].reindex(methods).fillna(0.0).to_numpy()
            width = seconds / contents.SECONDS_PER_HOUR * unit.per_hour
            if width.any():
                axes.barh(
                    range(len(methods)), width, left=left, height=0.7, lw=0.3, ec="white", **fill
                )
                left += width
        if left.any():
            layout.plain_ticks(axes, "x", log=False)
            budget = contents.budget(results, task) * unit.per_hour
            axes.axvline(budget, color="#888888", lw=0.8, ls="--", zorder=3)
            axes.set_xlim(0, max(budget, left.max()) * 1.03)
            axes.set_xlabel(unit.label)
        else:
            layout.nothing(axes)
    layout.add_legend(figure, [Patch(label=name, **fill) for name, fill in fills.items()])
    layout.add_note(figure, note)
    return figure
