"""The upper-level search space: named, bounded, real variables.

Every method on a task gets the same `Space` object, and its `hash` is stored with every
run, so that a comparison over different spaces is noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

Params = dict[str, float]


@dataclass(frozen=True)
class Variable:
    """One upper-level variable on `[low, high]`, searched on a log scale if `log`."""

    name: str
    low: float
    high: float
    default: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"variable {self.name!r}: need finite low < high, got [{self.low}, {self.high}]"
            )
        if not self.low <= self.default <= self.high:
            raise ValueError(
                f"variable {self.name!r}: default {self.default} is outside "
                f"[{self.low}, {self.high}]"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"variable {self.name!r}: a log scale needs low > 0, got {self.low}")

    def to_unit(self, value: float) -> float:
        """Position of `value` in `[0, 1]` on this variable's own scale."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, position: float) -> float:
        """Inverse of `to_unit`; positions outside `[0, 1]` are clipped to the bounds."""
        if position <= 0 or position >= 1:  # the ends exactly
            return self.low if position <= 0 else self.high
        if self.log:
            value = self.low * math.exp(position * math.log(self.high / self.low))
        else:
            value = self.low + position * (self.high - self.low)
        return min(max(value, self.low), self.high)  # rounding must not leave the box


@dataclass(frozen=True)
class Space:
    """An ordered box of variables."""

    variables: tuple[Variable, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.variables) or not self.variables:
            raise ValueError(f"a space needs distinct variable names, got {self.names}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.variables)

    @property
    def default(self) -> Params:
        """The initial point: what a user who tunes nothing would run."""
        return {variable.name: variable.default for variable in self.variables}

    def starting_at(self, **params: float) -> Space:
        """The same box with another initial point, where `params` name it."""
        unknown = params.keys() - set(self.names)
        if unknown:
            raise ValueError(f"no variable {min(unknown)!r}; have {', '.join(self.names)}")
        return Space(
            tuple(replace(x, default=params.get(x.name, x.default)) for x in self.variables)
        )

    @cached_property
    def hash(self) -> str:
        """Identity of the space: 12 hex digits over names, bounds, scales and defaults."""
        text = json.dumps([asdict(variable) for variable in self.variables])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __len__(self) -> int:
        return len(self.variables)

    def sample(self, rng: np.random.Generator) -> Params:
        """A uniform draw (log-uniform where the variable is on a log scale)."""
        return self.from_unit(rng.random(len(self)))

    def to_unit(self, params: Mapping[str, float]) -> np.ndarray:
        """`(d,)` positions in the unit cube."""
        return np.array([variable.to_unit(params[variable.name]) for variable in self.variables])

    def from_unit(self, position: np.ndarray) -> Params:
        """Inverse of `to_unit`; positions outside the unit cube are clipped to it."""
        return {
            variable.name: variable.from_unit(float(x))
            for variable, x in zip(self.variables, position, strict=True)
        }

    def validate(self, params: Mapping[str, float]) -> Params:
        """`params` as plain floats in the space's order.

        Raises ValueError naming the offending variable when a name is missing or
        unknown, or a value is not finite or lies outside its bounds.
        """
        if set(params) != set(self.names):
            raise ValueError(f"parameters {sorted(params)} do not match the space's {self.names}")
        checked: Params = {}
        for variable in self.variables:
            value = float(params[variable.name])
            if not variable.low <= value <= variable.high:  # False for NaN too
                raise ValueError(
                    f"{variable.name} = {value} is outside [{variable.low}, {variable.high}]"
                )
            checked[variable.name] = value
        return checked
