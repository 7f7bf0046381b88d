"""Quality of what each method would deliver if it were stopped now, against device time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchmark.analysis import statistics
from benchmark.analysis.curves import align, at_fractions
from benchmark.display import style
from benchmark.display.chart import (
    ROOM,
    Array,
    Axis,
    Chart,
    Look,
    Panel,
    Series,
    bounded,
    has_zero,
    with_zero,
)
from benchmark.display.kinds import words
from benchmark.study.model import Metric, Study, Task

TITLE = "What would each method deliver if it were stopped now?"
SPREAD = 4.0
"""How many times the median method's distance from the best is kept on the axis."""
SHOWN_FROM = 0.1
"""Share of the budget from which on the axis must hold the curves."""
TIME_RANGE = 300
"""The time axis starts no earlier than this fraction of the budget."""
CROWD = 5
"""Above this many methods, only the compared ones get a band, and a legend names the lines."""

Shown = tuple[Task, Metric]


def overview(study: Study, tasks: Sequence[Task]) -> Chart | None:
    """One panel per task with its primary metric."""
    return _chart(study, "anytime", [(task, task.primary) for task in tasks], by_metric=False)


def of_task(study: Study, task: Task) -> Chart | None:
    """One panel per reported metric, the primary one first."""
    return _chart(study, "anytime", [(task, metric) for metric in task.metrics], by_metric=True)


def _chart(study: Study, name: str, shown: Sequence[Shown], by_metric: bool) -> Chart | None:
    looks = {
        label: look
        for label, look in style.looks(study).items()
        if any(align(task.trace(label, metric.name)) for task, metric in shown)
    }
    if not looks:
        return None
    panels = [_panel(study, task, metric, looks, by_metric) for task, metric in shown]
    note = f"{shown[0][0].name}. " if by_metric else ""
    note += _note(study, shown, looks) + words.not_ranked(study, looks)
    return Chart(name, TITLE, note, looks, panels, direct=len(looks) <= CROWD)


def _panel(
    study: Study, task: Task, metric: Metric, looks: dict[str, Look], by_metric: bool
) -> Panel:
    per_hour, budget = task.unit.per_hour, task.budget
    banded = set(looks) if len(looks) <= CROWD else compared(study, task)
    series, late, starts = [], {}, []
    for label in looks:
        curve = align(task.trace(label, metric.name))
        if curve is None:
            continue
        found = statistics.mean_interval(curve.values, metric.log)
        series.append(
            Series(
                label, curve.hours * per_hour, found.value, found.low, found.high, n=found.n,
                join="steps", marks="few", band=label in banded,
            )
        )  # fmt: skip
        starts.append(curve.hours[0])
        shown = curve.hours >= min(SHOWN_FROM * budget, curve.hours[-1])
        late[label] = bounded(found.value[shown])
    title, label = (metric.title, "") if by_metric else (task.name, metric.title)
    end = budget * per_hour
    first = max(min(starts, default=budget / 2) * per_hour, end / TIME_RANGE)
    time = Axis(task.unit.label, log=True, low=0.9 * min(first, end / 2), high=1.1 * end)
    if not series:
        return Panel(title, time, Axis(label), empty="no result yet")
    low, high = focus(list(late.values()), metric)
    zero = metric.log and has_zero(late.values())
    low, high = with_zero(low, high) if zero else (low, high)
    off = [
        looks[one].name
        for one, values in late.items()
        if not (low <= values[-1] <= high or (zero and values[-1] <= 0) or np.isnan(values[-1]))
    ]
    return Panel(
        title, time, Axis(label, metric.log, low, high, zero), series,
        remark=f"off the axis: {words.few(off)}" if off else "",
    )  # fmt: skip


def compared(study: Study, task: Task) -> set[str]:
    """Methods whose intervals are drawn where all would be too many: those of the planned
    contrasts and the focus, or else the two with the best means at the end."""
    here = [contrast for contrast in study.contrasts if contrast.task == task.name]
    planned = {label for contrast in here for label in (contrast.method, *contrast.against)}
    planned |= {study.focus or ""}
    ends: dict[str, float] = {}
    for label in task.methods:
        values = at_fractions(task.trace(label, task.primary.name), task.budget, (1.0,))
        mean = float(statistics.mean_interval(values, task.primary.log).value[0])
        if np.isfinite(mean) and study.method(label).ranked:
            ends[label] = mean
    best = sorted(ends, key=lambda label: ends[label], reverse=task.primary.higher_is_better)
    chosen = planned & set(task.methods)
    return chosen | set(best[: 1 if chosen else 2])


def focus(means: Iterable[Array], metric: Metric) -> tuple[float, float]:
    """Limits of the value axis: all curves, unless a few are so bad that they hide the rest.

    Distances from the best value are taken on the axis's own scale; what is further than
    `SPREAD` times the median distance of the curves' first and last values is left out. Values at
    or below zero do not count on a log scale.
    """
    usable = [mean[np.isfinite(mean) & ((mean > 0) | (not metric.log))] for mean in means]
    usable = [bounded(mean) for mean in usable if len(mean)]
    if not usable:
        return (0.1, 1.0) if metric.log else (0.0, 1.0)
    sign = -1.0 if metric.higher_is_better else 1.0
    losses = [sign * (np.log(mean) if metric.log else mean) for mean in usable]
    best = min(float(loss.min()) for loss in losses)
    reach = max(float(loss.max()) for loss in losses) - best
    typical = float(np.median([end - best for loss in losses for end in (loss[0], loss[-1])]))
    if typical > 0:
        reach = min(reach, SPREAD * typical)
    margin = 1.3 * ROOM * reach or 0.1 * (abs(best) or 1.0)
    ends = sorted([sign * (best - margin), sign * (best + reach + margin)])
    low, high = np.exp(np.clip(ends, -690, 690)) if metric.log else ends
    return float(low), float(high)


def _note(study: Study, shown: Sequence[Shown], looks: dict[str, Look]) -> str:
    counts = [len(task.trace(label, metric.name)) for task, metric in shown for label in looks]
    text = f"Reported metric of the incumbent, {words.seeds(counts)}"
    if max(counts, default=0) > 1:
        text += ": mean over seeds, band: 95 % Student-t interval"
        if len(looks) > CROWD:
            banded = set().union(*(compared(study, task) for task, _ in shown))
            names = [look.name for label, look in looks.items() if label in banded]
            text += f" (of {words.few(names, 6)})"
        if 1 in counts:
            text += ", none where there is one seed"
        if any(metric.log for _, metric in shown):
            text += "; both on the log scale for metrics on a log axis"
    else:
        text += ", so no interval"
    text += f". The axis fits the curves from {100 * SHOWN_FROM:g} % of the budget on"
    return f"{text}.{words.unfinished(study)}"
