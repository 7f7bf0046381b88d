"""One description of a figure, drawn by matplotlib (`canvas`) and by the page's script (`page`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

Array = npt.NDArray[np.float64]
LARGEST = 1e290
"""Magnitude to which values are clipped: an axis around a larger one has no finite limits."""
ROOM = 0.06
"""Empty share of an axis on either side of what is drawn."""


@dataclass(frozen=True)
class Look:
    """How one method, target or kind of work is drawn, and what it is called."""

    name: str
    colour: str
    marker: str = "o"
    """A letter of matplotlib's."""
    dash: tuple[float, ...] = ()
    """Lengths of strokes and gaps in line widths; empty for a solid line."""
    width: float = 1.2
    """Points."""
    hatch: str = ""


@dataclass(frozen=True)
class Axis:
    """Scale, limits and label; or rows with a name each, from top to bottom."""

    label: str = ""
    log: bool = False
    low: float = 0.0
    high: float = 1.0
    zero: bool = False
    """On a log axis: values at or below zero are drawn at `low`, whose tick says 0."""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """Points of one look, joined or not, with intervals up and down or left and right."""

    look: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    left: Array | None = None
    right: Array | None = None
    n: npt.NDArray[Any] | None = None
    """Seeds behind each point."""
    join: str = ""
    """`steps` (a value holds until the next), `line`, `bars` (from `left` to `right`) or none."""
    marks: str = "all"
    """`all`, `few`, `open` or `none`."""
    band: bool = True
    """Whether the interval is drawn, not only read out."""
    faint: bool = False
    """Stands back: another seed, or a trial that was not taken."""


@dataclass(frozen=True)
class Rule:
    """A dashed line across the panel at a value of x or y."""

    axis: str
    at: float


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series] = ()
    rules: Sequence[Rule] = ()
    remark: str = ""
    """Said below the title: what the panel leaves out."""
    empty: str = ""
    """Why there is nothing to show."""


@dataclass(frozen=True)
class Tiles:
    """Sample images of one method at one moment, `(k, s, s, 3)` uint8, and a value in words."""

    images: npt.NDArray[np.uint8] | None
    text: str


@dataclass(frozen=True)
class Chart:
    """A figure: panels, or rows of sample images (`sheet`: one row per look, one column per
    moment)."""

    name: str
    title: str
    """The question that the figure answers."""
    note: str
    """What a reader must know: units, n, what the interval is."""
    looks: dict[str, Look]
    panels: Sequence[Panel] = ()
    moments: Sequence[str] = ()
    sheet: Mapping[str, Sequence[Tiles]] = field(default_factory=dict)


def bounded(values: ArrayLike) -> Array:
    """Values that every axis can hold: infinite and huge ones are clipped, NaN stays."""
    clipped: Array = np.clip(np.asarray(values, dtype=float), -LARGEST, LARGEST)
    return clipped


def limits(values: Iterable[ArrayLike], log: bool, room: float = ROOM) -> tuple[float, float]:
    """Limits of an axis that hold all finite values (on a log axis all positive ones)."""
    parts = [np.ravel(np.asarray(part, dtype=float)) for part in values]
    known = np.concatenate([*parts, np.empty(0)])
    known = bounded(known[np.isfinite(known)])
    known = known[known > 0] if log else known
    if not len(known):
        return (0.1, 1.0) if log else (0.0, 1.0)
    return widened(float(known.min()), float(known.max()), log, room)


def widened(low: float, high: float, log: bool, room: float = ROOM) -> tuple[float, float]:
    """The range with a little room on both sides, also where it is a single value."""
    if log:
        start, end = np.log(low), np.log(high)
        margin = room * (end - start) or np.log(1.5)
        return float(np.exp(max(start - margin, -690))), float(np.exp(min(end + margin, 690)))
    margin = room * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def with_zero(low: float, high: float) -> tuple[float, float]:
    """Limits of a log axis with room at its lower end for the value zero."""
    return float(max(low / max((high / low) ** 0.12, 1.5), 1e-300)), high
