"""Quality of what each method would deliver if it were stopped now, against device time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.analysis import statistics
from benchmark.analysis.curves import Curve, align
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
"""Above this many methods, only those of the planned comparisons get a band."""
POINTS = 160
"""Moments kept of a curve: its values there are exact, what lies between is left out."""


@dataclass(frozen=True)
class Shown:
    """A panel to be: its metric, title and label of the value axis."""

    task: Task
    metric: Metric
    title: str
    label: str = ""


def overview(study: Study, tasks: Sequence[Task]) -> Chart | None:
    """One panel per task with its primary metric."""
    return _chart(study, [Shown(t, t.primary, t.name, t.primary.title) for t in tasks])


def of_task(study: Study, task: Task) -> Chart | None:
    """One panel per reported metric, the primary one first."""
    shown = [Shown(task, metric, metric.title) for metric in task.metrics]
    return _chart(study, shown, f"{task.name}. ")


def _chart(study: Study, shown: Sequence[Shown], about: str = "") -> Chart | None:
    looks = {
        label: look
        for label, look in style.looks(study).items()
        if any(align(one.task.trace(label, one.metric.name)) for one in shown)
    }
    if not looks:
        return None
    panels = [_panel(study, one, looks) for one in shown]
    note = about + _note(study, shown, looks) + style.not_ranked(study, looks)
    return Chart("anytime", TITLE, note, looks, panels)


def _panel(study: Study, shown: Shown, looks: dict[str, Look]) -> Panel:
    task, metric = shown.task, shown.metric
    found = {label: align(task.trace(label, metric.name)) for label in looks}
    curves = {label: curve for label, curve in found.items() if curve is not None}
    end = task.budget * task.unit.per_hour
    first = min((c.hours[0] for c in curves.values()), default=np.inf) * task.unit.per_hour
    first = min(max(first, end / TIME_RANGE), end / 2)
    time = Axis(task.unit.label, log=True, low=0.9 * first, high=1.1 * end)
    if not curves:
        return Panel(shown.title, time, Axis(shown.label), empty="no result yet")
    banded = (compared(study, task) if len(looks) > CROWD else set()) or set(looks)
    series = [_series(label, c, shown, label in banded) for label, c in curves.items()]
    late = {one.look: _late(one, end) for one in series}
    low, high = focus(late.values(), metric)
    zero = metric.log and any((values <= 0).any() for values in late.values())
    low, high = with_zero(low, high) if zero else (low, high)
    off = [
        looks[label].name
        for label, values in late.items()
        if values[-1] > high or (values[-1] < low and not (zero and values[-1] <= 0))
    ]
    value = Axis(shown.label, metric.log, low, high, zero)
    return Panel(shown.title, time, value, series, remark=words.off_axis(off))


def _series(label: str, curve: Curve, shown: Shown, band: bool) -> Series:
    kept = thinned(len(curve.hours), POINTS)
    found = statistics.mean_interval(curve.values[:, kept], shown.metric.log)
    return Series(
        label, curve.hours[kept] * shown.task.unit.per_hour, found.value, found.low, found.high,
        n=found.n, join="steps", marks="few", band=band,
    )  # fmt: skip


def _late(series: Series, end: float) -> Array:
    """Values that the axis must hold: those of the last moments, or at least the last one."""
    return bounded(series.y[series.x >= min(SHOWN_FROM * end, series.x[-1])])


def thinned(count: int, points: int) -> npt.NDArray[np.int64]:
    """At most `points` of `count` places: both ends, half of the others even and half denser at the
    start, so that linear and logarithmic axes look smooth."""
    if count <= points:
        return np.arange(count)
    even = np.linspace(0, count - 1, points - points // 2)
    dense = np.geomspace(1, count, points // 2) - 1
    return np.unique(np.concatenate([even, dense]).round().astype(np.int64))


def compared(study: Study, task: Task) -> set[str]:
    """The focus and the methods of the task's planned contrasts: where all intervals would be too
    many, theirs are drawn."""
    here = [contrast for contrast in study.contrasts if contrast.task == task.name]
    labels = {label for contrast in here for label in (contrast.method, *contrast.against)}
    return {*labels, study.focus or ""} & set(task.methods)


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
    counts = [len(one.task.trace(label, one.metric.name)) for one in shown for label in looks]
    text = f"Reported metric of the incumbent, {words.seeds(counts)}"
    if max(counts) > 1:
        text += ": mean (geometric on a log axis) and 95 % Student-t interval"
        if len(looks) > CROWD and any(compared(study, one.task) for one in shown):
            text += " of the methods compared by plan"
    else:
        text += ", so no interval"
    text += f". The axis fits the curves from {100 * SHOWN_FROM:g} % of the budget on."
    return text + words.unfinished(study)
