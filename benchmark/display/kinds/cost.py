"""How long until a quality is reached: expected running time to each target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.analysis import measures
from benchmark.display import style
from benchmark.display.chart import Axis, Chart, Look, Note, Panel, Rule, Series, limits
from benchmark.display.kinds import words
from benchmark.study.model import Study, Task

TITLE = "How long until a quality is reached?"
COLOURS, MARKS = ("#000000", "#0072B2", "#D55E00", "#009E73"), "sX*D"


def draw(study: Study, tasks: Sequence[Task]) -> Chart | None:
    """One panel per task, one row per method, one mark per target."""
    costs = measures.costs(study)
    costs = costs[costs["task"].isin([task.name for task in tasks])]
    if costs.empty:
        return None
    looks = {
        target: Look(str(target), COLOURS[k % 4], MARKS[k % 4])
        for k, target in enumerate(dict.fromkeys(costs["target"]))
    }
    labels = [label for label in study.methods if any(label in task.methods for task in tasks)]
    note = (
        "Expected running time (device time of all runs over successes, with its chi-squared 95 % "
        "interval, which may leave the axis) until the incumbent's primary metric has made a share "
        "of the gain between the task's stored references. On the right: runs that got there, "
        "where not all did. Open, at the end of the runs: none did. Dashed: the budget."
        + words.not_ranked(study, labels)
    )
    panels = [
        _panel(study, task, costs[costs["task"] == task.name], looks, labels) for task in tasks
    ]
    return Chart("cost-to-target", TITLE, note, looks, panels, height=0.32 * len(labels) + 0.65)


def _panel(
    study: Study, task: Task, costs: pd.DataFrame, looks: dict[str, Look], labels: list[str]
) -> Panel:
    rows = words.rows(style.looks(study), labels)
    costs = costs[costs["runs"] > 0]
    per_hour = task.unit.per_hour
    if costs.empty:
        return Panel(task.name, Axis(), rows, empty="no result yet")
    series, notes, shown = [], words.not_run(task, labels), []
    offsets = np.linspace(-0.27, 0.27, len(looks)) if len(looks) > 1 else [0.0]
    for offset, target in zip(offsets, looks, strict=True):
        own = costs[costs["target"] == target]
        y = np.array([labels.index(label) for label in own["method"]]) + offset
        there = (own["successes"] > 0).to_numpy()
        x = own["gpu_hours"].where(there, own["censored"]).to_numpy(float) * per_hour
        low, high = (own[end].to_numpy(float) * per_hour for end in ("low", "high"))
        series += [
            Series(target, x[there], y[there], left=low[there], right=high[there]),
            Series(target, x[~there], y[~there], marks="open"),
        ]
        shown.append(x[np.isfinite(x) & (x > 0)])
        notes += [
            Note(f"{done}/{runs}", float(place), look=target)
            for place, done, runs in zip(y, own["successes"], own["runs"], strict=True)
            if 0 < done < runs
        ]
    budget = task.budget * per_hour
    ends = limits([*shown, [0.5 * budget, budget]], log=True, room=0.1)
    axis = Axis(f"{task.unit.label} to target", True, *ends)
    return Panel(task.name, axis, rows, series, [Rule("x", budget)], notes)
