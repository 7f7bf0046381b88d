"""The way of the upper-level variables on the objective landscape of a task.

Fine-tuning: against the stored landscape along one strength, one panel per method. Other
families: on the plane of two variables at a time, where the landscape is what all searches
measured there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.display import style
from benchmark.display.figures import layout
from benchmark.display.figures.anytime import focus
from benchmark.display.figures.trajectories import representative
from benchmark.study.model import Metric, Study, Variable

STRENGTH = "mean_strength"
ROLE = "shown:sampling: "
WORST = 0.8
"""Share of the pooled scores that the colour scale resolves, from the best on."""


def draw(study: Study, task: str) -> Figure | None:
    """None if no run has delivered anything on the task."""
    seeds = {
        method: seed
        for method in study.methods
        if (seed := representative(study, task, method)) is not None
    }
    if not seeds:
        return None
    if study.task(task).family == "finetune":
        return _strengths(study, task, seeds)
    return _plane(study, task, seeds)


def _strengths(study: Study, task: str, seeds: dict[str, int]) -> Figure:
    """Primary metric against the entropy strength, or the geometric mean of several."""
    metric = study.task(task).primary
    several = len(study.task(task).variables) > 1
    runs = {method: events(study, task, method, seed) for method, seed in seeds.items()}
    stored = study.task(task).landscape
    note = (
        f"{task}: the run with the median final {metric.label} of each method. Line with marks: "
        "reported metric of the incumbents in their order, larger at the end; ticks below: "
        "strengths of trials that did not become one."
    )
    if stored is not None:
        note += " Grey: the stored landscape" + (
            " with all strengths equal; methods that set them one by one can end off it."
            if several
            else "."
        )
    note += layout.not_ranked_note(study, seeds)
    columns = min(min((4, 5, 3), key=lambda count: -len(runs) % count), len(runs))
    extra = layout.note_height(note, style.DOUBLE)
    figure, grid = layout.panels(
        len(runs), 1.25, columns=columns, extra=extra, sharex=True, sharey=True
    )
    for axes, (method, run) in zip(grid, runs.items(), strict=True):
        if stored is not None:
            points = sorted(stored["points"], key=lambda point: point["lambda"])
            axes.plot(
                [point["lambda"] for point in points], [point[metric.name] for point in points],
                color="#bbbbbb", lw=2, zorder=1,
            )  # fmt: skip
        _walk(axes, run, metric, layout.identity(study, method))
        axes.set_title(layout.shown_name(study, method), fontsize=7, pad=3)
    values = [run[metric.name].dropna().to_numpy() for run in runs.values()]
    grid[0].set_ylim(*focus([value for value in values if len(value)], metric))
    variable = study.task(task).variables[0]
    grid[0].set_xlim(variable.low / 1.3, variable.high * 1.3)
    layout.plain_ticks(grid[0], "x", log=True)
    layout.metric_axis(grid[0], metric)
    grid[0].set_ylabel("")
    figure.supylabel(metric.title, fontsize=style.RC["axes.labelsize"])
    for index, axes in enumerate(grid):
        if index + columns >= len(grid):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("geometric mean of λ" if several else "λ")
    layout.add_note(figure, note)
    return figure


def events(study: Study, task: str, method: str, seed: int) -> pd.DataFrame:
    """One row per event of a run, in order: its metrics, parameters and `mean_strength` (the
    geometric mean of all parameters) as columns, and `incumbent`."""
    own = study.task(task).events(method, seed)
    wide = own.pivot_table(index="event", columns="metric", values="value", aggfunc="last")
    wide["incumbent"] = own.groupby("event")["incumbent"].last()
    wide["kind"] = own.groupby("event")["kind"].last()
    params = [f"param:{variable.name}" for variable in study.task(task).variables]
    with np.errstate(invalid="ignore", divide="ignore"):
        wide[STRENGTH] = np.exp(np.log(wide[params]).mean(axis=1))
    for metric in study.task(task).metrics:
        if metric.name not in wide:
            wide[metric.name] = np.nan
    return wide


def _walk(axes: Axes, run: pd.DataFrame, metric: Metric, look: style.Identity) -> None:
    """The incumbents as a path on the landscape."""
    taken = run[run["incumbent"] & run[metric.name].notna()]
    x, y = taken[STRENGTH].to_numpy(), taken[metric.name].to_numpy()
    axes.plot(x, y, color=look.colour, lw=0.7, alpha=0.7, zorder=3)
    sizes = np.linspace(4.5, 1.5, len(x))[::-1] ** 2
    edges = ["none"] * (len(x) - 1) + [style.BLACK]
    axes.scatter(
        x, y, s=sizes, c=look.colour, marker=look.marker, zorder=4, linewidths=0.6,
        edgecolors=edges if len(x) else None,
    )  # fmt: skip
    left = run.loc[~run["incumbent"], STRENGTH]
    axes.plot(
        left, np.full(len(left), 0.03), transform=axes.get_xaxis_transform(), ls="", marker="|",
        ms=4, mew=0.5, color=look.colour, alpha=0.6,
    )  # fmt: skip
    axes.grid()


def _plane(study: Study, task: str, seeds: dict[str, int]) -> Figure | None:
    """Variables two by two: pooled trials coloured by score, and the ways of single runs."""
    variables = study.task(task).variables
    if len(variables) < 2:
        return None
    pairs = list(zip(variables[::2], variables[1::2], strict=False))
    if len(variables) % 2:
        pairs.append((variables[-2], variables[-1]))
    runs = {method: events(study, task, method, seed) for method, seed in seeds.items()}
    trials = _trials(study, task)
    note = (
        f"{task}. Dots: all whole trials of all searches and seeds, coloured by selection score "
        "(lower is better), the other variables being what they were. Lines: single-run methods, "
        "the run with the median final metric (dashed: the schedule that it samples under, which "
        "the dots do not measure), ending at the large mark; large marks without a line: what "
        "searches deliver. Cross: the default setting."
    ) + layout.not_ranked_note(study, runs)
    methods = list(runs)
    width = style.SINGLE if len(pairs) == 1 else style.DOUBLE
    names = layout.shown_names(study, methods)
    extra = layout.legend_height(names, width) + layout.note_height(note, width)
    figure, grid = layout.panels(len(pairs), 2.6, columns=min(2, len(pairs)), extra=extra)
    scale = _scale(trials["score"]) if len(trials) else None
    for axes, pair in zip(grid, pairs, strict=True):
        names = [f"param:{variable.name}" for variable in pair]
        if scale is not None:
            dots = axes.scatter(
                trials[names[0]], trials[names[1]], c=trials["score"], cmap="Greys_r", norm=scale,
                s=9, lw=0.2, edgecolors="#999999", zorder=2,
            )  # fmt: skip
        for method, run in runs.items():
            _way(axes, run, [variable.name for variable in pair], study, method)
        defaults = [[variable.default] for variable in pair]
        axes.plot(*defaults, marker="+", ms=9, mew=1.2, color=style.BLACK, zorder=6)
        for which, variable in zip("xy", pair, strict=True):
            _axis(axes, which, variable)
    if scale is not None:
        bar = figure.colorbar(dots, ax=grid, label="selection score", shrink=0.8, pad=0.02)
        layout.plain_ticks(bar.ax, "y", log=isinstance(scale, LogNorm))
    layout.add_legend(figure, [_handle(study, method) for method in methods])
    layout.add_note(figure, note)
    return figure


def _trials(study: Study, task: str) -> pd.DataFrame:
    """Whole scored trials of all runs: parameters and score."""
    frame = study.frame
    own = frame[(frame["task"] == task) & (frame["kind"] == "trial") & (frame["fidelity"] >= 1.0)]
    keys = ["method", "seed", "event"]
    wide = own.pivot_table(index=keys, columns="metric", values="value", aggfunc="last")
    return wide[wide["score"].notna()] if "score" in wide else wide.assign(score=np.nan).iloc[:0]


def _scale(scores: pd.Series) -> Normalize:
    """From the best score to where most lie; on the log scale where all are positive."""
    low, high = float(scores.min()), float(scores.quantile(WORST))
    if low > 0 and high > low:
        return LogNorm(low, high)
    return Normalize(low, high)


def _way(axes: Axes, run: pd.DataFrame, names: list[str], study: Study, method: str) -> None:
    look = layout.identity(study, method)
    delivered = run[run["incumbent"]]
    ways = {"param:": "-"} | ({ROLE: "--"} if f"{ROLE}{names[0]}" in run else {})
    for prefix, line in ways.items():
        x, y = (delivered[f"{prefix}{name}"].to_numpy() for name in names)
        if (run["kind"] == "report").all():
            axes.plot(x, y, color=look.colour, ls=line, lw=1.0, zorder=4)
        end: dict[str, Any] = {"mfc": "white" if prefix == ROLE else look.colour}
        axes.plot(
            x[-1:], y[-1:], ls="", marker=look.marker, ms=6, mec=look.colour, mew=1.0, **end,
            zorder=5, clip_on=False,
        )  # fmt: skip


def _axis(axes: Axes, which: str, variable: Variable) -> None:
    low, high = variable.low, variable.high
    log = variable.log
    room = (high / low) ** 0.04 if log else 0.04 * (high - low)
    limits = (low / room, high * room) if log else (low - room, high + room)
    axes.set(**{f"{which}lim": limits, f"{which}label": variable.name})
    layout.plain_ticks(axes, which, log)


def _handle(study: Study, method: str) -> Line2D:
    look = layout.identity(study, method)
    name = layout.shown_name(study, method)
    return Line2D([], [], ls="", marker=look.marker, color=look.colour, ms=5, label=name)
