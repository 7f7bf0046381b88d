"""How probable it is that a run of one method ends better than a run of another."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis import pairwise
from benchmark.display.figures import layout
from benchmark.study.model import NOT_RANKED, Study


def draw(study: Study) -> Figure | None:
    """One panel per task: the subject against each ranked method; None without two of them."""
    table = pairwise.improvements(study)
    if table.empty:
        return None
    subjects = {str(task): subject(study, rows) for task, rows in table.groupby("task", sort=False)}
    methods = [name for name in study.ranked if {name} != set(subjects.values())]
    tasks = list(study.tasks)
    note = (
        "Probability that a run of the method on the axis ends better than a run of the "
        f"method of the row, in the primary metric, {layout.seeds_note(table['n'])}; bars: "
        "Newcombe's 95 % interval. Dotted: an even chance."
    )
    if len(study.ranked) < len(study.methods):
        note += f" Methods that are {NOT_RANKED} are left out."
    figure, grid = layout.row_panels(len(tasks), len(methods), 0.17, note)
    for axes, task in zip(grid, tasks, strict=True):
        layout.method_rows(axes, study, methods, task)
        if task in subjects:
            rows = table[(table["task"] == task) & (table["method"] == subjects[task])]
            _panel(axes, study, rows.set_index("other"), methods)
            axes.set_xlabel(f"P({subjects[task]} ends better)")
        else:
            layout.nothing(axes)
        axes.set_title(task)
    layout.add_note(figure, note)
    return figure


def subject(study: Study, table: pd.DataFrame) -> str:
    """The suite's focus if it has runs, else the method with the best median chance."""
    chances = table.groupby("method")["probability"].median()
    if study.focus is not None and study.focus in chances.index:
        return study.focus
    return str(chances.idxmax())


def _panel(axes: Axes, study: Study, rows: pd.DataFrame, methods: list[str]) -> None:
    axes.axvline(0.5, color="#888888", lw=0.8, ls=":", zorder=1)
    for place, method in enumerate(methods):
        if method not in rows.index:
            continue
        found = rows.loc[method]
        look = layout.identity(study, method)
        axes.plot([found["low"], found["high"]], [place, place], color=look.colour, lw=1.2)
        axes.plot(
            found["probability"], place, ls="", marker=look.marker, ms=4.5, color=look.colour,
            clip_on=False, zorder=4,
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 5), ["0", "0.25", "0.5", "0.75", "1"])
