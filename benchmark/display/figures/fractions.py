"""Quality at fixed shares of the budget: a dot and an interval per method."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis import measures
from benchmark.display import formatting, style
from benchmark.display.figures import layout
from benchmark.display.figures.anytime import focus, unfinished_note
from benchmark.study.model import Metric, Study

OFFSETS = (-0.3, -0.1, 0.1, 0.3)
OPACITIES = (0.3, 0.5, 0.7, 1.0)
SIZES = (2.2, 2.8, 3.4, 4.4)


def draw(study: Study) -> Figure:
    """One panel per task, one row per method, four dots per row from early to late."""
    tasks, methods = list(study.tasks), list(study.methods)
    quality = measures.quality(study)
    note = (
        "Mean over seeds with 95 % Student-t interval (log scale for metrics on a log axis), "
        f"{layout.seeds_note(quality['n'])}; intervals may leave the axis, "
        f"one seed has none.{unfinished_note(study)}{layout.not_ranked_note(study, methods)}"
    )
    figure, grid = layout.row_panels(len(tasks), len(methods), 0.27, note)
    for axes, task in zip(grid, tasks, strict=True):
        metric = study.task(task).primary
        chosen = (quality["task"] == task) & (quality["metric"] == metric.name)
        layout.method_rows(axes, study, methods, task)
        _panel(axes, study, quality[chosen], metric, methods)
        axes.set_title(task)
    layout.add_legend(figure, _handles())
    layout.add_note(figure, note)
    return figure


def _panel(
    axes: Axes, study: Study, rows: pd.DataFrame, metric: Metric, methods: list[str]
) -> None:
    known = rows[np.isfinite(rows["mean"])]
    if known.empty:
        layout.nothing(axes)
        return
    for step, fraction in enumerate(measures.FRACTIONS):
        dots = known[known["fraction"] == fraction]
        y = np.array([methods.index(method) for method in dots["method"]]) + OFFSETS[step]
        colours = [layout.identity(study, method).colour for method in dots["method"]]
        alpha = OPACITIES[step]
        axes.hlines(y, dots["low"], dots["high"], color=colours, lw=1, alpha=alpha)
        axes.scatter(dots["mean"], y, s=SIZES[step] ** 2, c=colours, alpha=alpha, lw=0, zorder=3)
    means = [group["mean"].to_numpy() for _, group in known.groupby("method", sort=False)]
    if metric.log:
        axes.set_xscale("log")
    axes.set_xlim(*focus(means, metric))
    _off_axis(axes, known[known["fraction"] == 1.0], methods)
    layout.metric_axis(axes, metric, "x")


def _off_axis(axes: Axes, finals: pd.DataFrame, methods: list[str]) -> None:
    """Write final values that the axis leaves out at the edge that they lie beyond."""
    low, high = axes.get_xlim()
    for row in finals.to_dict("records"):
        if low <= row["mean"] <= high:
            continue
        x, side, arrow = (0.02, "left", "←") if row["mean"] < low else (0.98, "right", "→")
        value = formatting.number(row["mean"])
        axes.text(
            x, methods.index(row["method"]) + OFFSETS[-1],
            f"{arrow} {value}" if side == "left" else f"{value} {arrow}",
            transform=axes.get_yaxis_transform(), ha=side, va="center", fontsize=layout.SMALL,
        )  # fmt: skip


def _handles() -> list[Line2D]:
    return [
        Line2D(
            [], [], ls="", marker="o", ms=size, color=style.BLACK, alpha=opacity, mew=0,
            label=f"{formatting.percent(fraction)} of the budget",
        )
        for fraction, size, opacity in zip(measures.FRACTIONS, SIZES, OPACITIES, strict=True)
    ]  # fmt: skip
