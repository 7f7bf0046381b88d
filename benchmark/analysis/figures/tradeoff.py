"""What the methods chose, on the trade-off that the entropy strength of a fine-tuning task makes.

The curve is the task's stored landscape: under-optimised where the strength is large,
over-optimised where it is small. Without one, the choices are drawn alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from benchmark.analysis import contents, formatting, statistics, style
from benchmark.analysis.curves import Traces
from benchmark.analysis.figures import layout
from benchmark.analysis.figures.anytime import focus, unfinished_note
from benchmark.results import Results

Array = npt.NDArray[np.float64]

STRENGTH = "λ"
"""Label of the entropy strength."""
HEIGHT = 2.1
"""Inches of a panel between its axes."""
LEFT, RIGHT, BOTTOM, TOP = 0.66, 0.08, 0.36, 0.08
LABEL_SIZE = 6.5
CHARACTER = 0.048
"""Inches per character of a text in the panel."""
LABEL_STEP = 0.115
"""Inches from one label to the next."""
ROOM = 0.07
"""Empty share of an axis beyond what is drawn."""
NAMED = (1.0, 0.1, 10.0, 0.01, 100.0, 0.3, 3.0, 0.03, 30.0)
"""Strengths named on a curve that has no axis for them, the first ones first."""
APART = 0.17
"""Inches between strengths named on the curve."""
DIRECTIONS = np.array(
    [(1, 0), (1, -1), (1, 1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1)], dtype=float
)
"""Where a text may stand beside its mark, the first free one."""
BOX = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.5, 0.5, 5)), -1).reshape(-1, 2)
"""Points all over a unit square."""
FINE = 40
"""Points of the drawn line per stored point."""


@dataclass(frozen=True)
class Choice:
    """One method's final incumbents in one quantity: mean and range over its seeds."""

    centre: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A landscape in two quantities, from the smallest to the largest strength."""

    strength: Array
    x: Array
    y: Array
    stored: tuple[Array, Array]
    """The stored points that the line goes through."""

    def inside(self, limits: tuple[float, float]) -> npt.NDArray[np.bool_]:
        return (self.y >= limits[0]) & (self.y <= limits[1])

    def at(self, strength: float) -> tuple[float, float]:
        place = np.log(strength), np.log(self.strength)
        return float(np.interp(*place, self.x)), float(np.interp(*place, self.y))


def draw(results: Results, found: Traces, task: str) -> Figure | None:
    """The primary metric against the strength, if there is one, and against the second metric.

    None for other families, without anything to put on the x axis, and without a choice.
    """
    if results.tasks[task].get("family") != "finetune":
        return None
    metric, *others = contents.metrics(results, task)
    shared = len(results.tasks[task]["variables"]) == 1
    axis = [_strength(results, task)] if shared else []
    axis += others[:1]
    finals = final_values(results, found, task, [metric, *axis])
    if finals.empty or not axis:
        return None
    landscape = contents.landscape(results, task)
    curves = [_curve(landscape, quantity, metric) for quantity in axis]
    choices = [_choices(results, finals, quantity, metric) for quantity in axis]
    span = limits(metric, [up.centre for _, up in choices[0].values()], curves[0])
    note = _note(results, finals, task, shared, _of_line(landscape, curves[0], span))
    note += layout.not_ranked_note(results, choices[0])
    figure, panels = _panels(results, len(axis), finals, note)
    for axes, quantity, chosen, curve in zip(panels, axis, choices, curves, strict=True):
        axes.set_ylim(*span)
        _frame(axes, chosen, quantity, metric, curve)
        if quantity.label == STRENGTH:
            _strength_axis(axes, results.tasks[task]["variables"][0])
        for method, (across, up) in chosen.items():
            _mark(axes, layout.identity(results, method), across, up)
        leaders = _label(axes, results, chosen) if axes is panels[0] else []
        if curve is not None:
            _line(axes, curve)
            drawn = _drawn(axes, curve, chosen, leaders)
            drawn = _say_where_it_leaves(axes, curve, drawn)
            if quantity.label != STRENGTH:
                _name_strengths(axes, curve, drawn)
    layout.add_note(figure, note)
    return figure


def final_values(
    results: Results, found: Traces, task: str, columns: Sequence[contents.Metric]
) -> pd.DataFrame:
    """`columns` at the last evaluated incumbent of every run, by method and seed."""
    primary, names = columns[0].name, [column.name for column in columns]
    runs = ["method", "seed"]
    frame = results.frame
    rows = frame[(frame["task"] == task) & frame["incumbent"] & frame["metric"].isin(names)]
    last = rows[rows["metric"] == primary].groupby(runs)["event"].max().rename("last")
    rows = rows.join(last, on=runs)
    rows = rows[rows["event"] == rows["last"]]
    finals = rows.pivot(index=runs, columns="metric", values="value").reindex(columns=names)
    kept = {
        (method, trace.seed)
        for method in contents.method_names(results)
        for trace in found.of(task, method, primary)
    }
    usable = np.isfinite(finals.to_numpy()).all(axis=1)
    for column in columns:
        usable &= (finals[column.name].to_numpy() > 0) | (not column.log)
    usable &= np.array([key in kept for key in finals.index], dtype=bool)
    chosen: pd.DataFrame = finals[usable]
    return chosen


def choice(values: ArrayLike, log: bool) -> Choice:
    """Mean (geometric with `log`), smallest and largest of a method's seeds."""
    mean = statistics.mean_interval(values, log).value
    return Choice(float(mean), float(np.min(values)), float(np.max(values)))


def limits(
    metric: contents.Metric, means: Sequence[float], curve: Curve | None
) -> tuple[float, float]:
    """Of the y axis: the methods, and the curve but for its over-optimised end.

    That end may be so bad that it would hide the rest: it is kept only as far as the
    under-optimised end, or the methods, reach.
    """
    low, high = focus([np.array([mean]) for mean in means], metric)
    if curve is None:
        return low, high
    best = curve.y.max() if metric.higher_is_better else curve.y.min()
    ends = _room(min(curve.y[-1], best), max(curve.y[-1], best), metric.log)
    return min(low, ends[0]), max(high, ends[1])


def _room(low: float, high: float, log: bool) -> tuple[float, float]:
    """The range with a little room on both sides."""
    if low == high:
        return (low / 2, 2 * high) if log else (low - (abs(low) or 1), high + (abs(low) or 1))
    if log:
        room = (high / low) ** ROOM
        return low / room, high * room
    return low - ROOM * (high - low), high + ROOM * (high - low)


def _strength(results: Results, task: str) -> contents.Metric:
    variable = results.tasks[task]["variables"][0]
    return contents.Metric(f"param:{variable['name']}", STRENGTH, log=True)


def _curve(
    landscape: dict[str, Any] | None, x: contents.Metric, y: contents.Metric
) -> Curve | None:
    """The landscape as a smooth line without overshoot (PCHIP in log λ); None if unusable."""
    from scipy.interpolate import PchipInterpolator  # takes long to import

    points = landscape["points"] if landscape else []
    names = ["lambda", "lambda" if x.label == STRENGTH else x.name, y.name]
    values = np.array([[point.get(name, np.nan) for name in names] for point in points], float)
    values = values.reshape(-1, 3)
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < 2:
        return None
    place = np.log(values[:, 0])
    fine = np.linspace(place[0], place[-1], FINE * len(place))
    stored = values[:, 1], values[:, 2]
    line = [PchipInterpolator(place, column)(fine) for column in stored]
    return Curve(np.exp(fine), line[0], line[1], stored)


def _panels(
    results: Results, count: int, finals: pd.DataFrame, note: str
) -> tuple[Figure, list[Axes]]:
    """Panels of fixed inches, the first with room for labels on its right."""
    methods = finals.index.get_level_values("method").unique()
    rail = 0.25 + 0.05 * max(map(len, layout.shown_names(results, methods)))
    width = style.SINGLE if count == 1 else style.DOUBLE
    below = layout.note_height(note, width) + BOTTOM
    total = HEIGHT + below + TOP
    figure = Figure(figsize=(width, total))
    panel = (width - count * LEFT - rail - (count - 1) * RIGHT) / count
    panels = [
        figure.add_axes((start / width, below / total, panel / width, HEIGHT / total))
        for start in (LEFT, LEFT + panel + rail + LEFT)[:count]
    ]
    return figure, panels


def _choices(
    results: Results, finals: pd.DataFrame, x: contents.Metric, y: contents.Metric
) -> dict[str, tuple[Choice, Choice]]:
    """What each method chose, across and up."""
    present = set(finals.index.get_level_values("method"))
    return {
        method: (choice(rows[x.name], x.log), choice(rows[y.name], y.log))
        for method in contents.method_names(results)
        if method in present
        for rows in [finals.xs(method, level="method")]
    }


def _frame(
    axes: Axes,
    choices: dict[str, tuple[Choice, Choice]],
    x: contents.Metric,
    y: contents.Metric,
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
    axes.set_xlim(*_room(min(ends), max(ends), x.log))
    axes.grid()
    layout.metric_axis(axes, y, "y")
    layout.metric_axis(axes, x, "x")


def _strength_axis(axes: Axes, variable: dict[str, Any]) -> None:
    """The whole range of the strength, with a name for either end."""
    axes.set_xlim(*_room(variable["low"], variable["high"], log=True))
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
        across.centre, up.centre, marker=look.marker, ms=5, zorder=front, **_fill(look, "white"),
    )  # fmt: skip


def _fill(look: style.Identity, edge: str) -> dict[str, Any]:
    """A full mark with that edge; an open one where lines are dashed, as relatives share marks."""
    if look.line == style.DASHED:
        return {"ls": "", "mfc": "white", "mec": look.colour, "mew": 0.9}
    return {"ls": "", "mfc": look.colour, "mec": edge, "mew": 0.5}


def _label(axes: Axes, results: Results, choices: dict[str, tuple[Choice, Choice]]) -> list[Array]:
    """Names on the right, from top to bottom like the marks that they lead to.

    Returns the leaders, each as the inches `(2, 2)` of its ends.
    """
    low, high = axes.get_ylim()
    ends = {
        method: (across.centre, float(np.clip(up.centre, low, high)))
        for method, (across, up) in choices.items()
    }
    shares = {method: float(_share(axes, *end)[1]) for method, end in ends.items()}
    order = sorted(shares, key=lambda method: shares[method])
    places = layout.spread_labels([shares[method] for method in order], LABEL_STEP / HEIGHT, 1.0)
    leaders = []
    for method, place in zip(order, places, strict=True):
        look = layout.identity(results, method)
        value, text = choices[method][1].centre, layout.shown_name(results, method)
        if low <= value <= high:
            axes.annotate(
                "", ends[method], (1.035, place), xycoords="data", textcoords="axes fraction",
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-", "lw": 0.5, "color": look.colour, "alpha": 0.7,
                    "shrinkA": 0, "shrinkB": 0, "zorder": 3,
                },
            )  # fmt: skip
            mark = _share(axes, *ends[method])
            leaders.append(_inches(axes, np.stack([mark, (1.035, place)])))
        else:
            text += f" {'↓' if value < low else '↑'} {_number(value)}"
        axes.plot(
            1.05, place, transform=axes.transAxes, marker=look.marker, ms=4, clip_on=False,
            **_fill(look, look.colour),
        )  # fmt: skip
        axes.text(
            1.08, place, text, transform=axes.transAxes, va="center_baseline", fontsize=LABEL_SIZE
        )
    return leaders


def _share(axes: Axes, x: float | Array, y: float | Array) -> Array:
    """`(n, 2)` shares of the axes (or `(2,)` for one) at data coordinates."""
    points: Array = (axes.transScale + axes.transLimits).transform(np.stack([x, y], axis=-1))
    return points


def _inches(axes: Axes, shares: ArrayLike) -> Array:
    """Inches on the page of shares of the axes."""
    pixels = axes.transAxes.transform(shares)
    inches: Array = pixels / axes.figure.dpi
    return inches


def _name_strengths(axes: Axes, curve: Curve, drawn: Array) -> None:
    """Values of lambda along the curve, where the text covers nothing that is `drawn`."""
    edges = _inches(axes, [(0, 0), (1, 1)])
    named: list[Array] = []
    for strength in NAMED:
        x, y = curve.at(strength)
        mark = _inches(axes, _share(axes, x, y))
        inside = curve.strength[0] <= strength <= curve.strength[-1]
        inside &= bool(((mark >= edges[0]) & (mark <= edges[1])).all())
        if not inside or any(np.hypot(*(mark - other)) < APART for other in named):
            continue
        text = f"λ = {strength:g}"
        size = np.array([CHARACTER * len(text), 0.09])
        offset = free_place(mark, size, drawn, edges)
        if offset is None:
            continue
        named.append(mark)
        drawn = np.concatenate([drawn, mark + offset + size * BOX])
        axes.plot(x, y, ls="", marker="o", ms=3.2, mfc="white", mec="#555555", mew=0.8, zorder=2.5)
        axes.annotate(
            text, (x, y), tuple(72 * offset), textcoords="offset points", ha="center",
            va="center", fontsize=6, color="#444444", zorder=3,
        )  # fmt: skip


def _drawn(
    axes: Axes, curve: Curve, choices: dict[str, tuple[Choice, Choice]], leaders: list[Array]
) -> Array:
    """`(n, 2)` inches of points on everything that a text should not cover."""
    steps = np.linspace(0, 1, 40)[:, None]
    parts = [_inches(axes, _share(axes, curve.x, curve.y))]
    parts += [start + steps * (end - start) for start, end in leaders]
    for across, up in choices.values():
        for low, high in (
            ((across.low, up.centre), (across.high, up.centre)),
            ((across.centre, up.low), (across.centre, up.high)),
        ):
            start, end = _inches(axes, [_share(axes, *low), _share(axes, *high)])
            parts.append(start + steps * (end - start))
        parts.append(_inches(axes, _share(axes, across.centre, up.centre)) + 0.08 * BOX)
    return np.concatenate(parts)


def free_place(anchor: Array, size: Array, drawn: Array, edges: Array) -> Array | None:
    """Offset from `anchor` to the centre of a text that covers nothing; None if there is none.

    All in inches: the text is `size` large, should cover none of the points `drawn`, and stay
    between the corners `edges`.
    """
    for far in (1.0, 1.5):
        for direction in DIRECTIONS:
            place: Array = far * direction * (size / 2 + 0.06)
            if _is_free(anchor + place, size, drawn, edges):
                return place
    return None


def _is_free(centre: Array, size: Array, drawn: Array, edges: Array) -> bool:
    low, high = centre - size / 2, centre + size / 2
    within = (low >= edges[0]).all() and (high <= edges[1]).all()
    return bool(within) and not ((drawn >= low) & (drawn <= high)).all(axis=1).any()


def _say_where_it_leaves(axes: Axes, curve: Curve, drawn: Array) -> Array:
    """How far the over-optimised end goes, beside the place where it leaves the axis.

    Returns `drawn` with the text.
    """
    span = axes.get_ylim()
    inside = curve.inside(span)
    if inside[0] or not inside.any():
        return drawn
    down = curve.y[0] < span[0]
    text = f"{'↓' if down else '↑'} {_number(curve.y[0])}"
    size = np.array([CHARACTER * len(text), 0.09])
    edges = _inches(axes, [(0, 0), (1, 1)])
    leaves = _inches(axes, _share(axes, curve.x[int(np.argmax(inside))], span[0]))[0]
    level = edges[0, 1] + 0.07 if down else edges[1, 1] - 0.07
    aside = size[0] / 2 + 0.05
    centres = [np.array([leaves - aside, level]), np.array([leaves + aside, level])]
    free = [centre for centre in centres if _is_free(centre, size, drawn, edges)]
    place = (free or centres)[0]
    axes.annotate(
        text, tuple(place * axes.figure.dpi), xycoords="figure pixels",
        ha="center", va="center", fontsize=6, color="#444444", zorder=3,
    )  # fmt: skip
    return np.concatenate([drawn, place + size * BOX])


def _number(value: float) -> str:
    return formatting.number(value, 2).replace("-", "\N{MINUS SIGN}")


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


def _note(results: Results, finals: pd.DataFrame, task: str, shared: bool, line: str) -> str:
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
    return f"{text}.{unfinished_note(results)}"
