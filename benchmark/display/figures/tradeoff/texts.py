"""Texts in the trade-off figure, each where it covers nothing: methods and strengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from benchmark.display import formatting, style
from benchmark.display.figures import layout
from benchmark.display.figures.tradeoff.values import Array, Choice, Curve
from benchmark.study.model import Study

PANEL_HEIGHT = 2.1
"""Inches of a panel between its axes."""
LABEL_SIZE = 6.5
CHARACTER = 0.048
"""Inches per character of a text in the panel."""
LABEL_STEP = 0.115
"""Inches from one label to the next."""
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


def name_methods(
    axes: Axes, study: Study, choices: dict[str, tuple[Choice, Choice]]
) -> list[Array]:
    """Names on the right, from top to bottom like the marks that they lead to.

    Returns the leaders, each as the inches `(2, 2)` of its ends.
    """
    low, high = axes.get_ylim()
    ends = {
        method: (across.centre, float(np.clip(up.centre, low, high)))
        for method, (across, up) in choices.items()
    }
    shares = {method: float(share(axes, *end)[1]) for method, end in ends.items()}
    order = sorted(shares, key=lambda method: shares[method])
    places = layout.spread_labels(
        [shares[method] for method in order], LABEL_STEP / PANEL_HEIGHT, 1.0
    )
    leaders = []
    for method, place in zip(order, places, strict=True):
        look = layout.identity(study, method)
        value, text = choices[method][1].centre, layout.shown_name(study, method)
        if low <= value <= high:
            axes.annotate(
                "", ends[method], (1.035, place), xycoords="data", textcoords="axes fraction",
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-", "lw": 0.5, "color": look.colour, "alpha": 0.7,
                    "shrinkA": 0, "shrinkB": 0, "zorder": 3,
                },
            )  # fmt: skip
            mark = share(axes, *ends[method])
            leaders.append(inches(axes, np.stack([mark, (1.035, place)])))
        else:
            text += f" {'↓' if value < low else '↑'} {number(value)}"
        axes.plot(
            1.05, place, transform=axes.transAxes, marker=look.marker, ms=4, clip_on=False,
            **fill(look, look.colour),
        )  # fmt: skip
        axes.text(
            1.08, place, text, transform=axes.transAxes, va="center_baseline", fontsize=LABEL_SIZE
        )
    return leaders


def fill(look: style.Identity, edge: str) -> dict[str, Any]:
    """A full mark with that edge; an open one where lines are dashed, as relatives share marks."""
    if look.line == style.DASHED:
        return {"ls": "", "mfc": "white", "mec": look.colour, "mew": 0.9}
    return {"ls": "", "mfc": look.colour, "mec": edge, "mew": 0.5}


def name_strengths(axes: Axes, curve: Curve, drawn: Array) -> None:
    """Values of lambda along the curve, where the text covers nothing that is `drawn`."""
    edges = inches(axes, [(0, 0), (1, 1)])
    named: list[Array] = []
    for strength in NAMED:
        x, y = curve.at(strength)
        mark = inches(axes, share(axes, x, y))
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


def say_where_it_leaves(axes: Axes, curve: Curve, drawn: Array) -> Array:
    """How far the over-optimised end goes, beside the place where it leaves the axis.

    Returns `drawn` with the text.
    """
    span = axes.get_ylim()
    inside = curve.inside(span)
    if inside[0] or not inside.any():
        return drawn
    down = curve.y[0] < span[0]
    text = f"{'↓' if down else '↑'} {number(curve.y[0])}"
    size = np.array([CHARACTER * len(text), 0.09])
    edges = inches(axes, [(0, 0), (1, 1)])
    leaves = inches(axes, share(axes, curve.x[int(np.argmax(inside))], span[0]))[0]
    level = edges[0, 1] + 0.07 if down else edges[1, 1] - 0.07
    aside = size[0] / 2 + 0.05
    centres = [np.array([leaves - aside, level]), np.array([leaves + aside, level])]
    free = [centre for centre in centres if is_free(centre, size, drawn, edges)]
    place = (free or centres)[0]
    axes.annotate(
        text, tuple(place * axes.figure.dpi), xycoords="figure pixels",
        ha="center", va="center", fontsize=6, color="#444444", zorder=3,
    )  # fmt: skip
    return np.concatenate([drawn, place + size * BOX])


def covered(
    axes: Axes, curve: Curve, choices: dict[str, tuple[Choice, Choice]], leaders: list[Array]
) -> Array:
    """`(n, 2)` inches of points on everything that a text should not cover."""
    steps = np.linspace(0, 1, 40)[:, None]
    parts = [inches(axes, share(axes, curve.x, curve.y))]
    parts += [start + steps * (end - start) for start, end in leaders]
    for across, up in choices.values():
        for low, high in (
            ((across.low, up.centre), (across.high, up.centre)),
            ((across.centre, up.low), (across.centre, up.high)),
        ):
            start, end = inches(axes, [share(axes, *low), share(axes, *high)])
            parts.append(start + steps * (end - start))
        parts.append(inches(axes, share(axes, across.centre, up.centre)) + 0.08 * BOX)
    return np.concatenate(parts)


def free_place(anchor: Array, size: Array, drawn: Array, edges: Array) -> Array | None:
    """Offset from `anchor` to the centre of a text that covers nothing; None if there is none.

    All in inches: the text is `size` large, should cover none of the points `drawn`, and stay
    between the corners `edges`.
    """
    for far in (1.0, 1.5):
        for direction in DIRECTIONS:
            place: Array = far * direction * (size / 2 + 0.06)
            if is_free(anchor + place, size, drawn, edges):
                return place
    return None


def is_free(centre: Array, size: Array, drawn: Array, edges: Array) -> bool:
    low, high = centre - size / 2, centre + size / 2
    within = (low >= edges[0]).all() and (high <= edges[1]).all()
    return bool(within) and not ((drawn >= low) & (drawn <= high)).all(axis=1).any()


def share(axes: Axes, x: float | Array, y: float | Array) -> Array:
    """`(n, 2)` shares of the axes (or `(2,)` for one) at data coordinates."""
    points: Array = (axes.transScale + axes.transLimits).transform(np.stack([x, y], axis=-1))
    return points


def inches(axes: Axes, shares: ArrayLike) -> Array:
    """Inches on the page of shares of the axes."""
    pixels = axes.transAxes.transform(shares)
    inches: Array = pixels / axes.figure.dpi
    return inches


def number(value: float) -> str:
    return formatting.number(value, 2).replace("-", "\N{MINUS SIGN}")
