"""How figures look: printed sizes, fonts, and one fixed identity per method.

Colours are Okabe and Ito's ("Color Universal Design", 2008) and Paul Tol's muted scheme
("Colour Schemes", SRON 2021), safe for the common colour-vision deficiencies. Related
methods share a hue; line style and marker tell them apart, also in grey.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

SINGLE = 3.35
"""Width of one column in inches."""
DOUBLE = 6.9
"""Width of a page in inches."""
DPI = 200

RC: dict[str, Any] = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 7.5,
    "text.parse_math": False,  # labels may come from anybody, and hold a dollar
    "axes.titlesize": 8,
    "axes.titley": 1.0,  # fixed: finding room above the ticks takes a tenth of the time
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "diffusion-tuning-benchmark",
}


@contextmanager
def applied() -> Iterator[None]:
    """The rc settings, for the time of drawing and saving."""
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change a figure
        mpl.rcParams.update(RC)
        yield


@dataclass(frozen=True)
class Identity:
    """The look of one method."""

    colour: str
    marker: str
    line: Any
    """A matplotlib line style."""
    width: float = 1.2


SOLID, DASHED, DOTTED, DASHDOT = "-", (0, (4, 1.6)), (0, (1, 1.4)), (0, (5, 1.4, 1, 1.4))
BLACK, GREY, BLUE, SKY = "#000000", "#777777", "#0072B2", "#56B4E9"
GREEN, PURPLE, ORANGE, VERMILION = "#009E73", "#CC79A7", "#E69F00", "#D55E00"
INDIGO, WINE, TEAL, OLIVE, SAND = "#332288", "#882255", "#44AA99", "#999933", "#BBAA55"

KNOWN = {
    "default": Identity(BLACK, "s", DOTTED),
    "best-fixed": Identity(BLACK, "D", DASHED),
    "grid": Identity(BLUE, "D", SOLID),
    "grid-smoothed": Identity(BLUE, "d", DASHED),
    "grid-by-class": Identity(BLUE, "s", DASHDOT),
    "random": Identity(GREY, "X", SOLID),
    "sobol": Identity(GREY, "P", DASHED),
    "optuna-tpe": Identity(GREEN, "^", SOLID),
    "optuna-gp": Identity(GREEN, "v", DASHED),
    "optuna-cmaes": Identity(GREEN, ">", DASHDOT),
    "skopt-gp": Identity(SKY, "<", SOLID),
    "successive-halving": Identity(PURPLE, "h", SOLID),
    "hyperband": Identity(PURPLE, "H", DASHED),
    "sampling-search": Identity(INDIGO, "P", SOLID),
    "search-then-tune": Identity(INDIGO, "X", DASHED),
    "weighted-sum": Identity(ORANGE, "*", SOLID),
    "spsa-crn": Identity(INDIGO, "p", DASHDOT),
    "bilevel": Identity(VERMILION, "o", SOLID, width=1.9),
    "bilevel-paper": Identity(VERMILION, "o", DASHED),
}
SPARE_COLOURS = (WINE, TEAL, OLIVE, SAND)
SPARE_LINES = (DASHDOT, DASHED, DOTTED, SOLID)
SPARE_MARKERS = ("8", "D", "s", "^", "v", "P", "X", "p")


def identity(label: str, name: str | None = None) -> Identity:
    """The look of the method called `label` in a suite, the same in every figure and suite.

    An unknown label takes the colour of the method `name` it is a variant of, if that one
    is known; all else follows from a hash of the label.
    """
    if label in KNOWN:
        return KNOWN[label]
    digest = hashlib.sha256(label.encode()).digest()
    colour = KNOWN[name].colour if name in KNOWN else SPARE_COLOURS[digest[0] % len(SPARE_COLOURS)]
    return Identity(
        colour=colour,
        marker=SPARE_MARKERS[digest[1] % len(SPARE_MARKERS)],
        line=SPARE_LINES[digest[2] % len(SPARE_LINES)],
    )


KIND_FILLS: dict[str, dict[str, Any]] = {
    "training": {"fc": "#EE8866", "ec": "white"},
    "sampling": {"fc": "#44BB99", "ec": "white", "hatch": "////"},
    "scoring": {"fc": "#77AADD", "ec": "white"},
    "gradients through samples": {"fc": "#EEDD88", "ec": "white", "hatch": "...."},
    "optimiser overhead": {"fc": "#BBBBBB", "ec": "white"},
    "evaluation, not charged": {"fc": "white", "ec": "#888888", "hatch": "\\\\\\\\"},
}
"""Fills of kinds of work: Paul Tol's light scheme, areas and not lines, so not mistaken for a
method; hatches tell neighbours apart in grey."""
SPARE_FILLS = ("#99DDFF", "#BBCC33", "#AAAA00", "#FFAABB")


def kind(name: str, position: int) -> dict[str, Any]:
    """Fill of a kind of work; `position` tells those apart that are not known here."""
    spare = {"fc": SPARE_FILLS[position % len(SPARE_FILLS)], "ec": "white"}
    return KIND_FILLS.get(name, spare)
