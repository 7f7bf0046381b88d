"""The noise schedules that methods deliver, as paths of a plot of 300 x 180 units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.display.figures import schedules
from benchmark.study.model import Study

WIDTH, HEIGHT = 300.0, 180.0
POINTS = 80


@dataclass(frozen=True)
class Panel:
    """One quantity of all schedules over the steps of the forward process."""

    label: str
    ticks: Sequence[tuple[float, str]]
    """Height and text."""
    fixed: Sequence[str]
    """Path data of the fixed linear and cosine schedules."""
    paths: Sequence[tuple[int, str]]
    """Index of the method and path data."""


@dataclass(frozen=True)
class Learned:
    """What each method samples under at the end, of its run with the median quality."""

    panels: Sequence[Panel]
    methods: Sequence[tuple[int, str]]


def learned(study: Study, task: str) -> Learned | None:
    """None if the task tunes no schedule of the cosine family, or nothing is delivered."""
    delivered = {
        index: schedules.cosine(**schedules.FIXED | values)
        for index, method in enumerate(list(study.methods))
        if (values := _variables(study, task, method))
    }
    if not delivered:
        return None
    fixed = (schedules.linear(), schedules.cosine(**schedules.FIXED))
    panels = [
        Panel(
            label=label,
            ticks=[(_height(tick, limits), f"{tick:g}") for tick in ticks],
            fixed=[_path(quantity(curve), limits) for curve in fixed],
            paths=[(index, _path(quantity(curve), limits)) for index, curve in delivered.items()],
        )
        for label, quantity, limits, ticks in QUANTITIES
    ]
    names = list(study.methods)
    return Learned(panels, [(index, names[index]) for index in delivered])


def _variables(study: Study, task: str, method: str) -> dict[str, float]:
    if not schedules.tuned(study, task):
        return {}
    return schedules.sampled_under(study, task, method) or {}


Curve = schedules.Array
QUANTITIES: Sequence[tuple[str, Callable[[Curve], Curve], tuple[float, float], Sequence[float]]] = (
    ("signal variance ᾱ", np.asarray, (0, 1), (0, 0.25, 0.5, 0.75, 1)),
    ("log-SNR: log ᾱ / (1 - ᾱ)", schedules.log_snr, (-13, 10), (-10, -5, 0, 5, 10)),
)


def _path(values: Curve, limits: tuple[float, float]) -> str:
    """A line through the values inside the limits, from left to right."""
    chosen = np.unique(np.linspace(0, len(values) - 1, POINTS).astype(int))
    inside = chosen[(values[chosen] >= limits[0]) & (values[chosen] <= limits[1])]
    x = WIDTH * (inside + 1) / len(values)
    return "M" + "L".join(
        f"{left:.1f} {_height(float(value), limits):.1f}"
        for left, value in zip(x, values[inside], strict=True)
    )


def _height(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return HEIGHT * (high - value) / (high - low)
