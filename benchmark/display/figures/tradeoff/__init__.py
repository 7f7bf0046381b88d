"""What the methods chose, on the trade-off that the entropy strength of a fine-tuning task makes.

The curve is the task's stored landscape: under-optimised where the strength is large,
over-optimised where it is small. Without one, the choices are drawn alone.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.display import style
from benchmark.display.figures import layout
from benchmark.display.figures.anytime import unfinished_note
from benchmark.display.figures.tradeoff.texts import (
    LABEL_SIZE,
    PANEL_HEIGHT,
    covered,
    fill,
    name_methods,
    name_strengths,
    say_where_it_leaves,
)
from benchmark.display.figures.tradeoff.values import (
    STRENGTH,
    Choice,
    Curve,
    choices_of,
    curve_of,
    final_values,
    limits,
    strength,
    with_room,
)
from benchmark.study.model import Metric, Study, Variable

LEFT, RIGHT, BOTTOM, TOP = 0.66, 0.08, 0.36, 0.08
"""Inches beside the panels."""


def draw(study: Study, task: str) -> Figure | None:
    """The primary metric against the strength, if there is one, and against the second metric.

    None for other families, without anything to put on the x axis, and without a choice.
    """
    if study.task(task).family != "finetune":
        return None
    metric, *others = study.task(task).metrics
    shared = len(study.task(task).variables) == 1
    axis = [strength(study, task)] if shared else []
    axis += others[:1]
    finals = final_values(study, task, [metric, *axis])
    if finals.empty or not axis:
        return None
    landscape = study.task(task).landscape
    curves = [curve_of(landscape, quantity, metric) for quantity in axis]
    choices = [choices_of(study, finals, quantity, metric) for quantity in axis]
    span = limits(metric, [up.centre for _, up in choices[0].values()], curves[0])
    note = _note(study, finals, task, shared, _of_line(landscape, curves[0], span))
    note += layout.not_ranked_note(study, choices[0])
    figure, panels = _panels(study, len(axis), finals, note)
    for axes, quantity, chosen, curve in zip(panels, axis, choices, curves, strict=True):
        axes.set_ylim(*span)
        _frame(axes, chosen, quantity, metric, curve)
        if quantity.label == STRENGTH:
            _strength_axis(axes, study.task(task).variables[0])
        for method, (across, up) in chosen.items():
            _mark(axes, layout.identity(study, method), across, up)
        leaders = name_methods(axes, study, chosen) if axes is panels[0] else []
        if curve is not None:
            _line(axes, curve)
            drawn = covered(axes, curve, chosen, leaders)
            drawn = say_where_it_leaves(axes, curve, drawn)
            if quantity.label != STRENGTH:
                name_strengths(axes, curve, drawn)
    layout.add_note(figure, note)
    return figure


def _panels(study: Study, count: int, finals: pd.DataFrame, note: str) -> tuple[Figure, list[Axes]]:
    """Panels of fixed inches, the first with room for labels on its right."""
    methods = finals.index.get_level_values("method").unique()
    rail = 0.25 + 0.05 * max(map(len, layout.shown_names(study, methods)))
    width = style.SINGLE if count == 1 else style.DOUBLE
    below = layout.note_height(note, width) + BOTTOM
    total = PANEL_HEIGHT + below + TOP
    figure = Figure(figsize=(width, total))
    panel = (width - count * LEFT - rail - (count - 1) * RIGHT) / count
    panels = [
        figure.add_axes((start / width, below / total, panel / width, PANEL_HEIGHT / total))
        for start in (LEFT, LEFT + panel + rail + LEFT)[:count]
    ]
    return figure, panels


def _frame(
    axes: Axes,
    choices: dict[str, tuple[Choice, Choice]],
    x: Metric,
    y: Metric,
    curve: Curve | None,
) -> None:
    """Scales and labels of the axes, and the limits of x from what is inside those of y."""
    span = axes.get_ylim()
    inside = [across for across, up in choices.values() if span[0] <= up.centre <= span[1]]
    ends = [end for across in inside for end in (across.low, across.high)]
    if curve is not None:
        ends += list(curve.x[curve.inside(span)])
    axes.set_yscale("log" if y.log else "linear")
    axes.set_xscale("log" if x.log else "linear")
    axes.set_xlim(*with_room(min(ends), max(ends), x.log))
    axes.grid()
    layout.metric_axis(axes, y, "y")
    layout.metric_axis(axes, x, "x")


def _strength_axis(axes: Axes, variable: Variable) -> None:
    """The whole range of the strength, with a name for either end."""
    axes.set_xlim(*with_room(variable.low, variable.high, log=True))
    layout.plain_ticks(axes, "x", log=True)
    axes.set_xlabel(STRENGTH)
    for x, side, text in ((0, "left", "← over-optimised"), (1, "right", "under-optimised →")):
        axes.annotate(
            text, (x, 0), (0, -17), xycoords="axes fraction", textcoords="offset points",
            ha=side, va="top", fontsize=LABEL_SIZE,
        )  # fmt: skip


def _line(axes: Axes, curve: Curve) -> None:
    axes.plot(curve.x, curve.y, color="#aaaaaa", lw=1.2, zorder=2)
    axes.plot(*curve.stored, ls="", marker="o", ms=2.4, mew=0, color="#888888", zorder=2)


def _mark(axes: Axes, look: style.Identity, across: Choice, up: Choice) -> None:
    """The mean over seeds, with bars from the smallest to the largest."""
    front = 4 + look.width / 10
    bars: dict[str, Any] = {
        "color": look.colour,
        "lw": 0.9,
        "zorder": front - 0.5,
        "solid_capstyle": "butt",
    }
    axes.plot([across.low, across.high], [up.centre] * 2, **bars)
    axes.plot([across.centre] * 2, [up.low, up.high], **bars)
    axes.plot(
        across.centre, up.centre, marker=look.marker, ms=5, zorder=front, **fill(look, "white"),
    )  # fmt: skip


def _of_line(
    landscape: dict[str, Any] | None, curve: Curve | None, span: tuple[float, float]
) -> str:
    """What the note says of the line; empty if there is none."""
    if landscape is None or curve is None:
        return ""
    text = f"Line: the same metrics at {len(curve.stored[0])} strengths (dots), one seed"
    if not curve.inside(span)[0]:
        text += f"; arrow: where it ends, at λ = {curve.strength[0]:g}"
    return text


def _note(study: Study, finals: pd.DataFrame, task: str, shared: bool, line: str) -> str:
    counts = finals.groupby(level="method").size()
    text = f"{task}. Marks: what the methods deliver at the end of their budgets, "
    text += layout.seeds_note(counts)
    if counts.max() > 1:
        text += ": mean" + (" (geometric for λ)" if shared else "")
        text += ", bars from the smallest to the largest seed"
    text += f". {line}" if line else ". No curve is stored for this task"
    if line and not shared:
        text += "; all classes at the same strength"
    if line and shared and counts.max() > 1:
        text += "; a mean of seeds on both sides of the optimum lies below it"
    return f"{text}.{unfinished_note(study)}"
