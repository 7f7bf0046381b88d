"""How figures look: printed sizes, fonts, and one look per method.

Related methods share a hue; line style and marker tell them apart, also in grey.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from typing import Any

import matplotlib as mpl

from benchmark.study.model import Method, Study

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
LINES = (SOLID, DASHED, DASHDOT, DOTTED)
MARKERS = ("o", "s", "D", "^", "v", "X", "P", ">", "<", "h", "d", "*", "p", "8", "H")
BLACK, GREY = "#000000", "#777777"
SPARE_COLOURS = ("#882255", "#44AA99", "#999933", "#BBAA55")
"""For methods whose group has no colour of its own."""


def identity(study: Study, label: str) -> Identity:
    """The look of a method, the same in every figure of a study.

    Methods of a group share its colour, also in other studies; no two of them share line and
    marker, as far as there are enough. The method that the study is about is drawn bold and solid.
    """
    return _identities(study)[label]


@lru_cache(maxsize=2)
def _identities(study: Study) -> dict[str, Identity]:
    families: dict[str, list[str]] = {}
    for label, method in study.methods.items():
        families.setdefault(_colour(method), []).append(label)
    looks = {}
    for colour, labels in families.items():
        labels.sort(key=lambda label: label != study.focus)
        for place, label in enumerate(labels):
            looks[label] = (colour, LINES[place % len(LINES)])
    widths = {label: 1.9 if label == study.focus else 1.2 for label in looks}
    return {
        label: Identity(looks[label][0], marker, looks[label][1], widths[label])
        for label, marker in zip(study.methods, cycle(MARKERS), strict=False)
    }


def _colour(method: Method) -> str:
    if method.colour:
        return method.colour
    digest = hashlib.sha256((method.group or method.name).encode()).digest()
    return SPARE_COLOURS[digest[0] % len(SPARE_COLOURS)]


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
