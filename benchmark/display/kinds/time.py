"""Device time by kind of work: training, sampling, scoring, gradients, the optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.analysis import measures, work
from benchmark.display import style
from benchmark.display.chart import Axis, Chart, Look, Panel, Rule, Series
from benchmark.display.kinds import words
from benchmark.study.model import SECONDS_PER_HOUR, Study, Task

TITLE = "What was the device time spent on?"
FREE = "evaluation, not charged"


def draw(study: Study, tasks: Sequence[Task]) -> Chart | None:
    """One panel per task, one bar per method: kinds of work by charged time, and the harness's own
    evaluations on top."""
    free = measures.usage(study).rename(columns={"evaluation_s": "seconds"}).assign(kind=FREE)
    names = [task.name for task in tasks]
    table, free = (t[t["task"].isin(names)] for t in (work.kinds_of_work(study), free))
    spent = pd.concat([table, free]).groupby(["task", "kind", "method"])["seconds"].sum()
    if not spent.any():
        return None
    present = set(table["kind"])
    kinds = [name for name in work.KINDS if name in present]
    kinds += [*sorted(present - set(kinds)), FREE]
    looks = {name: style.fill(name, place) for place, name in enumerate(kinds)}
    labels = [label for label in study.methods if any(label in task.methods for task in tasks)]
    note = (
        f"Device time of a run by kind of work, mean over seeds, {words.seeds(table['n'])}. "
        "Optimiser overhead: the method's own code, between the operations that a task offers. "
        "On top, white: evaluations of the reported metrics, which nobody is charged for. Dashed: "
        "the budget. Empty rows: methods that the suite does not run on the task."
    ) + style.not_ranked(study, labels)
    panels = [_panel(study, task, spent, looks, labels) for task in tasks]
    return Chart("time", TITLE, note, looks, panels)


def _panel(
    study: Study, task: Task, spent: pd.Series, looks: dict[str, Look], labels: list[str]
) -> Panel:
    names = style.looks(study)
    rows = Axis(names=tuple(names[label].name for label in labels))
    places = np.arange(len(labels), dtype=float)
    series, left = [], np.zeros(len(labels))
    for kind in looks:
        hours = np.array([spent.get((task.name, kind, label), 0.0) for label in labels])
        width = hours / SECONDS_PER_HOUR * task.unit.per_hour
        if width.any():
            series.append(
                Series(kind, left + width, places, left=left, right=left + width, join="bars")
            )
            left = left + width
    if not series:
        return Panel(task.name, Axis(), rows, empty="no result yet")
    budget = task.budget * task.unit.per_hour
    axis = Axis(task.unit.label, False, 0.0, 1.03 * max(budget, float(left.max())))
    return Panel(task.name, axis, rows, series, [Rule("x", budget)])
