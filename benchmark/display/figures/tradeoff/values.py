"""What the trade-off of a fine-tuning task shows: choices of methods, and the landscape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.typing import ArrayLike

from benchmark.analysis import statistics
from benchmark.display.figures.anytime import focus
from benchmark.study.model import Metric, Study

Array = npt.NDArray[np.float64]

STRENGTH = "λ"
"""Label of the entropy strength."""
ROOM = 0.07
"""Empty share of an axis beyond what is drawn."""
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


def final_values(study: Study, task: str, columns: Sequence[Metric]) -> pd.DataFrame:
    """`columns` at the last evaluated incumbent of every run, by method and seed."""
    primary, names = columns[0].name, [column.name for column in columns]
    runs = ["method", "seed"]
    frame = study.frame
    rows = frame[(frame["task"] == task) & frame["incumbent"] & frame["metric"].isin(names)]
    last = rows[rows["metric"] == primary].groupby(runs)["event"].max().rename("last")
    rows = rows.join(last, on=runs)
    rows = rows[rows["event"] == rows["last"]]
    finals = rows.pivot(index=runs, columns="metric", values="value").reindex(columns=names)
    kept = {
        (method, trace.seed)
        for method in study.methods
        for trace in study.task(task).trace(method, primary)
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


def choices_of(
    study: Study, finals: pd.DataFrame, x: Metric, y: Metric
) -> dict[str, tuple[Choice, Choice]]:
    """What each method chose, across and up."""
    present = set(finals.index.get_level_values("method"))
    return {
        method: (choice(rows[x.name], x.log), choice(rows[y.name], y.log))
        for method in study.methods
        if method in present
        for rows in [finals.xs(method, level="method")]
    }


def limits(metric: Metric, means: Sequence[float], curve: Curve | None) -> tuple[float, float]:
    """Of the y axis: the methods, and the curve but for its over-optimised end.

    That end may be so bad that it would hide the rest: it is kept only as far as the
    under-optimised end, or the methods, reach.
    """
    low, high = focus([np.array([mean]) for mean in means], metric)
    if curve is None:
        return low, high
    best = curve.y.max() if metric.higher_is_better else curve.y.min()
    ends = with_room(min(curve.y[-1], best), max(curve.y[-1], best), metric.log)
    return min(low, ends[0]), max(high, ends[1])


def with_room(low: float, high: float, log: bool) -> tuple[float, float]:
    """The range with a little room on both sides."""
    if low == high:
        return (low / 2, 2 * high) if log else (low - (abs(low) or 1), high + (abs(low) or 1))
    if log:
        room = (high / low) ** ROOM
        return low / room, high * room
    return low - ROOM * (high - low), high + ROOM * (high - low)


def strength(study: Study, task: str) -> Metric:
    variable = study.task(task).variables[0]
    return Metric(f"param:{variable.name}", STRENGTH, log=True)


def curve_of(landscape: dict[str, Any] | None, x: Metric, y: Metric) -> Curve | None:
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
