"""Quality of the incumbent against device time, over seeds."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis import statistics
from benchmark.analysis.curves import align
from benchmark.display import style
from benchmark.display.figures import layout
from benchmark.study.model import Metric, Study

SPREAD = 4.0
"""How many times the median method's distance from the best is kept on the axis."""
SHOWN_FROM = 0.1
"""Share of the budget from which on the axis must hold the curves."""
TIME_RANGE = 300
"""The time axis starts no earlier than this fraction of the budget."""
CROWD = 5
"""Above this many methods, only the ones that comparisons are made with get a band, and a legend
names the lines."""
MANY = 14
"""Above this many methods, the others stand back, and a single panel takes the page's width."""
LABEL_STEP = 0.075
"""Share of a panel's height from one name to the next."""


Panel = tuple[str, Metric]
"""A task and one of its metrics."""


def draw(study: Study) -> Figure:
    """One panel per task: mean over seeds with its interval band, one line per method."""
    tasks = list(study.tasks)
    return _draw(study, [(task, study.task(task).primary) for task in tasks])


def draw_metrics(study: Study, task: str) -> Figure | None:
    """One panel per reported metric of `task`, the primary one first; None if it has no other."""
    metrics = study.task(task).metrics
    if len(metrics) == 1:
        return None
    return _draw(study, [(task, metric) for metric in metrics], by_metric=True)


def _draw(study: Study, shown: list[Panel], by_metric: bool = False) -> Figure:
    """Panels named by task with the metric on the axis, or by metric with the task in the note."""
    methods = [
        method
        for method in study.methods
        if any(
            np.isfinite(trace.first)
            for task, metric in shown
            for trace in study.task(task).trace(method, metric.name)
        )
    ]
    wide = len(shown) > 1 or len(methods) > MANY
    width = style.DOUBLE if wide else style.SINGLE
    note = f"{shown[0][0]}. " if by_metric else ""
    note += _note(study, shown, methods) + layout.not_ranked_note(study, methods)
    direct = len(methods) <= CROWD  # names beside the lines, if they fit
    extra = layout.note_height(note, width)
    extra += 0 if direct else layout.legend_height(layout.shown_names(study, methods), width)
    height = 2.1 if len(shown) > 1 or not wide else 3.2
    figure, grid = layout.panels(len(shown), height, extra=extra, wide=wide)
    for axes, (task, metric) in zip(grid, shown, strict=True):
        _panel(axes, study, task, metric, methods)
        if by_metric:
            axes.set_title(metric.title)
            axes.set_ylabel("")
        if direct:
            _label_ends(axes, study, task, metric, methods)
    if not direct:
        layout.add_legend(figure, layout.method_handles(study, methods))
    layout.add_note(figure, note)
    return figure


def _panel(
    axes: Axes,
    study: Study,
    task: str,
    metric: Metric,
    methods: list[str],
) -> None:
    unit = study.task(task).unit
    axes.set_title(task)
    means, drawn = [], []
    first = np.inf
    banded = banded_methods(study, task, methods)
    shown_from = SHOWN_FROM * study.task(task).budget
    for order, method in enumerate(methods):
        curve = align(study.task(task).trace(method, metric.name))
        if curve is None:
            continue
        estimate = statistics.mean_interval(curve.values, metric.log)
        x = curve.hours * unit.per_hour
        look = layout.identity(study, method)
        front = 3 + order / 100 + look.width
        back = len(methods) > MANY and method not in banded
        marks = np.unique(np.linspace(0, len(x) - 1, 6).astype(int))
        axes.plot(
            x, estimate.value, drawstyle="steps-post", color=look.colour, ls=look.line,
            lw=0.7 if back else look.width, marker=look.marker, markevery=list(marks), zorder=front,
            alpha=0.5 if back else 1.0,
        )  # fmt: skip
        if method in banded:
            axes.fill_between(
                x, estimate.low, estimate.high, step="post", color=look.colour, alpha=0.12, lw=0,
                zorder=2,
            )  # fmt: skip
        first = min(first, curve.hours[0])
        late = curve.hours >= min(shown_from, curve.hours[-1])
        means.append(estimate.value[late])
        drawn.append(method)
    if not means:
        layout.empty(axes)
        return
    axes.set_xscale("log")
    axes.set_ylim(*focus(means, metric))
    axes.grid()
    layout.metric_axis(axes, metric)
    end = study.task(task).budget * unit.per_hour
    axes.set_xlim(max(first * unit.per_hour, end / TIME_RANGE) * 0.9, end * 1.1)
    layout.plain_ticks(axes, "x", log=True)
    axes.set_xlabel(unit.label)
    off = [
        method for method, values in zip(drawn, means, strict=True) if not _inside(axes, values[-1])
    ]
    if off:
        axes.text(
            0.98, 0.03 if metric.higher_is_better else 0.97, "off the axis: " + ", ".join(off),
            transform=axes.transAxes, ha="right", fontsize=layout.SMALL,
            zorder=20, bbox={"fc": "white", "ec": "none", "pad": 1},
            va="bottom" if metric.higher_is_better else "top",
        )  # fmt: skip


def _label_ends(
    axes: Axes,
    study: Study,
    task: str,
    metric: Metric,
    methods: list[str],
) -> None:
    """Name every line at its end, labels apart from each other."""
    budget = study.task(task).budget
    places: dict[str, float] = {}
    to_axes = axes.transScale + axes.transLimits
    for method in methods:
        curve = align(study.task(task).trace(method, metric.name))
        if curve is None:
            continue
        value = statistics.mean_interval(curve.values, metric.log).value[-1]
        if np.isfinite(value):
            height = to_axes.transform((budget, value))[1]
            places[method] = float(np.clip(height, 0, 1))
    order = sorted(places, key=lambda method: places[method])
    heights = layout.spread_labels([places[method] for method in order], LABEL_STEP, 1.0)
    for method, height in zip(order, heights, strict=True):
        look = layout.identity(study, method)
        axes.plot(
            1.03, height, transform=axes.transAxes, marker=look.marker, ms=3.5, ls="",
            color=look.colour, clip_on=False,
        )  # fmt: skip
        axes.annotate(
            layout.shown_name(study, method), (1.08, height), xycoords="axes fraction",
            va="center_baseline", fontsize=6.5, annotation_clip=False,
        )  # fmt: skip


def banded_methods(study: Study, task: str, methods: list[str]) -> set[str]:
    """Methods drawn with their interval: all, or the compared ones where there are many."""
    if len(methods) <= CROWD:
        return set(methods)
    compared = {name for row in study.contrasts for name in (row.method, *row.against)}
    return compared if study.focus is None else compared | {study.focus}


def focus(means: list[np.ndarray], metric: Metric) -> tuple[float, float]:
    """Limits of the y axis: all curves, unless a few are so bad that they hide the rest.

    Distances from the best value are taken on the axis's own scale; what is further than
    `SPREAD` times the median distance of the curves' first and last values is left out.
    """
    scale = np.log if metric.log else np.asarray
    values = np.concatenate([mean[np.isfinite(mean)] for mean in means])
    values = values[values > 0] if metric.log else values
    if not len(values):
        return (0.1, 1.0) if metric.log else (0.0, 1.0)
    sign = -1.0 if metric.higher_is_better else 1.0
    loss = sign * scale(values)
    best = loss.min()
    ends = np.array([end for mean in means for end in (mean[0], mean[-1])])
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = sign * scale(ends) - best
    distances = distances[np.isfinite(distances)]
    reach = loss.max() - best
    typical = np.median(distances) if len(distances) else 0.0
    if typical > 0:
        reach = min(reach, SPREAD * typical)
    margin = 0.08 * reach or 0.1 * (abs(best) or 1.0)
    limits = sorted([sign * (best - margin), sign * (best + reach + margin)])
    low, high = np.exp(limits) if metric.log else limits
    return float(low), float(high)


def _inside(axes: Axes, value: float) -> bool:
    low, high = axes.get_ylim()
    return bool(low <= value <= high) or not np.isfinite(value)


def _note(study: Study, shown: list[Panel], methods: list[str]) -> str:
    counts = [
        len(study.task(task).trace(method, metric.name))
        for task, metric in shown
        for method in methods
    ]
    text = f"Reported metric of the incumbent, {layout.seeds_note(counts)}"
    if max(counts, default=0) > 1:
        text += ": mean over seeds, band: 95 % Student-t interval"
        if len(methods) > CROWD:
            text += " (of bilevel, default, random and the best other method)"
        if 1 in counts:
            text += ", none where there is one seed"
        if any(metric.log for _, metric in shown):
            text += "; both on the log scale for metrics on a log axis"
    else:
        text += ", so no interval"
    text += f". The axis fits the curves from {100 * SHOWN_FROM:g} % of the budget on"
    return f"{text}.{unfinished_note(study)}"


def unfinished_note(study: Study) -> str:
    """How many runs are drawn only as far as they got, if any."""
    states = study.runs["status"]
    going = int((~states.isin(["finished", "failed"])).sum())
    failed = int((states == "failed").sum())
    text = f" {going} runs are not finished and enter as far as they got." if going else ""
    return text + (f" {failed} failed runs are left out." if failed else "")
