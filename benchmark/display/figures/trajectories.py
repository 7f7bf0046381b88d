"""The way of the upper-level variables over one run's budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.display import style
from benchmark.display.figures import layout
from benchmark.study.model import Study, Unit, Variable

MANY, MANY_COLUMNS = 9, 5
"""From how many panels on they show less each, and how many of them stand side by side."""


def draw(study: Study, task: str) -> Figure | None:
    """One panel per variable, and per number that candidates show beside their parameters;
    None if no run has delivered anything on the task."""
    variables = study.task(task).variables
    seeds = {
        method: seed
        for method in study.methods
        if (seed := representative(study, task, method)) is not None
    }
    if not seeds or not variables:
        return None
    frame = study.frame[study.frame["task"] == task]
    chosen = ", ".join(f"{seed} of {name}" for name, seed in seeds.items())
    note = (
        f"{task}, one run per method: the one whose final {study.task(task).primary.label} "
        f"is the median over seeds (seed {chosen}). "
    )
    drawn = {f"param:{variable.name}": variable for variable in variables}
    drawn |= shown(frame, variables)
    count = len(drawn)
    many = count >= MANY
    note += (
        "Lines: single-run methods. Marks: incumbents of searches; large: what the run delivers. "
        if many
        else "Lines: single-run methods (thin: their other seeds). Marks: trials of searches; "
        "outlined: incumbents; large: what the run delivers. "
    ) + "Dotted grey: the default setting."
    if count > len(variables):
        note += (
            " Panels with a role in their title, in the row below: what a candidate has beside its "
            "parameters, drawn only for methods that set it apart from them."
        )
    note += layout.not_ranked_note(study, seeds)
    width = style.SINGLE if count == 1 else style.DOUBLE
    names = layout.shown_names(study, seeds)
    extra = layout.legend_height(names, width) + layout.note_height(note, width)
    beside = len(variables) if len(variables) < count <= 2 * MANY_COLUMNS else None
    columns = MANY_COLUMNS if many and beside is None else beside
    figure, grid = layout.panels(count, 1.5 if many else 1.75, columns, extra)
    unit = study.task(task).unit
    limit = unit.per_hour * max(study.task(task).budget, frame["gpu_hours"].max())
    for index, (axes, (metric, variable)) in enumerate(zip(grid, drawn.items(), strict=True)):
        rows = frame[frame["metric"] == metric]
        _panel(axes, study, rows, variable, seeds, unit, representatives_only=many)
        axes.set_title(variable.name)
        last = columns is None or index + columns >= count
        axes.set_xlabel(unit.label if last else "")
        axes.set_xlim(-0.03 * limit, 1.03 * limit)
    layout.add_legend(figure, layout.method_handles(study, seeds))
    layout.add_note(figure, note)
    return figure


def shown(frame: pd.DataFrame, variables: Sequence[Variable]) -> dict[str, Variable]:
    """What is drawn beside the variables: the metrics `shown:ROLE: VARIABLE`, each on the scale
    of its variable and in their order."""
    titles = {metric.removeprefix("shown:") for metric in frame["metric"].unique()}
    return {
        f"shown:{title}": replace(variable, name=title)
        for variable in variables
        for title in sorted(titles)
        if title.endswith(f": {variable.name}")
    }


def representative(study: Study, task: str, method: str) -> int | None:
    """The seed whose last primary metric is the (lower) median; None without any."""
    metric = study.task(task).primary
    finals = [
        (float(trace.values[-1]), trace.seed)
        for trace in study.task(task).trace(method, metric.name)
        if np.isfinite(trace.values[-1])
    ]
    return sorted(finals)[(len(finals) - 1) // 2][1] if finals else None


def _panel(
    axes: Axes,
    study: Study,
    rows: pd.DataFrame,
    variable: Variable,
    seeds: dict[str, int],
    unit: Unit,
    representatives_only: bool,
) -> None:
    """With `representatives_only` neither other seeds nor trials that did not become the
    incumbent: panels of many variables are too small for them."""
    axes.axhline(variable.default, color="#aaaaaa", lw=0.8, ls=":", zorder=1)
    chosen = rows["seed"] == rows["method"].map(seeds)
    searches = (rows["kind"] == "trial").groupby([rows["method"], rows["seed"]]).transform("any")
    shown = rows[rows["method"].isin(list(seeds)) & (chosen | ~searches)]
    if representatives_only:
        wanted = shown["incumbent"] | (shown["kind"] == "report")
        shown = shown[chosen.loc[shown.index] & wanted]
    runs = shown.groupby(["method", "seed"], sort=False).ngroup()
    shown = shown.iloc[np.lexsort((shown["event"], runs))]
    shown = shown.assign(hours=shown["gpu_hours"] * unit.per_hour)
    for key, run in shown.groupby(["method", "seed"], sort=False):
        method, seed = cast("tuple[str, int]", key)
        look = layout.identity(study, method)
        trials = run[run["kind"] == "trial"]
        if trials.empty:
            _path(axes, run, look, thin=seed != seeds[method])
        else:
            _dots(axes, trials, look)
            delivered = run[run["incumbent"]]
            _mark(axes, delivered[-1:], look)
    axes.set_ylim(*_box(variable))
    if variable.log:
        axes.set_yscale("log")
    layout.plain_ticks(axes, "y", variable.log)
    axes.grid(axis="y")


def _path(axes: Axes, run: pd.DataFrame, look: style.Identity, thin: bool) -> None:
    """The states of a single-run method."""
    line: dict[str, Any] = {"color": look.colour, "ls": look.line}
    if thin:
        axes.plot(run["hours"], run["value"], **line, lw=0.5, alpha=0.3, zorder=2.5)
        return
    marks: dict[str, Any] = {"marker": look.marker, "markevery": max(1, len(run) // 8)}
    axes.plot(run["hours"], run["value"], **line, **marks, lw=look.width, zorder=4 + look.width)


def _dots(axes: Axes, trials: pd.DataFrame, look: style.Identity) -> None:
    """The trials of a search; incumbents are outlined."""
    dots: dict[str, Any] = {"ls": "", "marker": look.marker, "color": look.colour}
    axes.plot(trials["hours"], trials["value"], **dots, ms=2, mew=0, alpha=0.35, zorder=2)
    best = trials[trials["incumbent"]]
    edge: dict[str, Any] = {"mec": style.BLACK, "mew": 0.4}
    axes.plot(best["hours"], best["value"], **dots, **edge, ms=3, alpha=0.8, zorder=3.5)


def _mark(axes: Axes, delivered: pd.DataFrame, look: style.Identity) -> None:
    """What a search delivers."""
    axes.plot(
        delivered["hours"], delivered["value"], ls="", marker=look.marker, color=look.colour,
        ms=5.5, mec=style.BLACK, mew=0.6, zorder=4,
    )  # fmt: skip


def _box(variable: Variable) -> tuple[float, float]:
    """The variable's bounds with a little room."""
    low, high = variable.low, variable.high
    if variable.log:
        room = (high / low) ** 0.04
        return low / room, high * room
    return low - 0.04 * (high - low), high + 0.04 * (high - low)
