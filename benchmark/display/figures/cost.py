"""Device time until a target quality, with the runs that never reached it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis import measures
from benchmark.display.figures import layout
from benchmark.study.model import Study, Unit

LOOKS: tuple[dict[str, Any], ...] = (
    {"marker": "s", "color": "#000000", "offset": -0.27},
    {"marker": "*", "color": "#0072B2", "offset": 0.27},
    {"marker": "X", "color": layout.PALE, "offset": 0.0},
)
"""Of the targets, in their order."""


def draw(study: Study) -> Figure:
    """One panel per task, one row per method, one mark per target."""
    tasks, methods = list(study.tasks), list(study.methods)
    costs = measures.costs(study)
    note = (
        "Expected running time (cost of all runs over successes, with its chi-squared 95 % "
        "interval, which may leave the axis) until the incumbent's reported "
        "metric has made a share of the gain between the task's stored references. "
        "On the right: runs that got there, where not all did; open, "
        "at the end of the runs: none did. Dashed: the budget."
    ) + layout.not_ranked_note(study, methods)
    figure, grid = layout.row_panels(len(tasks), len(methods), 0.32, note)
    for axes, task in zip(grid, tasks, strict=True):
        budget = study.task(task).budget
        layout.method_rows(axes, study, methods, task)
        _panel(axes, costs[costs["task"] == task], budget, study.task(task).unit, methods)
        axes.set_title(task)
    layout.add_legend(figure, _handles(list(dict.fromkeys(costs["target"]))))
    layout.add_note(figure, note)
    return figure


def _panel(axes: Axes, costs: pd.DataFrame, budget: float, unit: Unit, methods: list[str]) -> None:
    costs = costs[costs["runs"] > 0]
    if costs.empty:
        layout.nothing(axes)
        return
    budget *= unit.per_hour
    axes.axvline(budget, color="#888888", lw=0.8, ls="--", zorder=1)
    rows = np.array([methods.index(method) for method in costs["method"]])
    reached = (costs["successes"] > 0).to_numpy()
    x = costs["gpu_hours"].where(reached, costs["censored"]).to_numpy() * unit.per_hour
    for target, look in zip(dict.fromkeys(costs["target"]), LOOKS, strict=False):
        mark: dict[str, Any] = {"ls": "", "marker": look["marker"], "color": look["color"]}
        chosen = (costs["target"] == target).to_numpy()
        y = rows + look["offset"]
        there, not_there = chosen & reached, chosen & ~reached
        ends = costs[there][["low", "high"]].to_numpy().T * unit.per_hour
        axes.hlines(y[there], *ends, color=look["color"], lw=0.6, zorder=2)
        axes.plot(x[there], y[there], **mark, ms=4.5, mew=0.7, zorder=3)
        axes.plot(x[not_there], y[not_there], **mark, ms=4, mew=0.7, mfc="white", zorder=3)
        for index in np.flatnonzero(there & (costs["successes"] < costs["runs"])):
            axes.annotate(
                f"{costs['successes'].iloc[index]}/{costs['runs'].iloc[index]}",
                (1.01, y[index]), xycoords=axes.get_yaxis_transform(), va="center_baseline",
                fontsize=layout.SMALL, color=look["color"], annotation_clip=False,
            )  # fmt: skip
    times = costs["gpu_hours"].to_numpy() * unit.per_hour
    times = times[np.isfinite(times) & (times > 0)]
    low, high = min([budget * 0.5, *times]), max([budget, *times])
    axes.set_xscale("log")
    axes.set_xlim(low / 1.3, high * (high / low) ** 0.12 * 1.1)
    layout.plain_ticks(axes, "x", log=True)
    axes.set_xlabel(f"{unit.label} to target")


def _handles(targets: list[str]) -> list[Line2D]:
    return [
        Line2D(
            [], [], ls="", marker=look["marker"], color=look["color"], ms=4.5, mew=0.7, label=name,
        )
        for name, look in zip(targets, LOOKS, strict=False)
    ]  # fmt: skip
