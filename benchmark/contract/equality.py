"""When two results of the same work count as the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

ROUNDING = 1e-3
"""Relative difference of numbers that a GPU may make, which adds in another order each time."""


def same(one: Any, other: Any, device: str) -> bool:
    """Whether both are equal: to the last bit on a CPU, up to rounding elsewhere."""
    return bool(one == other) or (device != "cpu" and _near(one, other))


def _near(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING * ROUNDING)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_near(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_near, one, other))
    return bool(one == other)
