"""The upper-level search space: named, bounded variables; real, whole, or one of a few choices.

All values are numbers, so that records, searches in the unit cube and figures know one kind of
variable: a choice is stored by its position among the choices, and `Variable.said` names it.

Every method on a task gets the same `Space` object, and its `hash` is stored with every
run, so that a comparison over different spaces is noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

Params = dict[str, float]


@dataclass(frozen=True)
class Variable:
    """One upper-level variable on `[low, high]`, searched on a log scale if `log`.

    An `integer` takes whole numbers only. With `choices` it is a category (`one_of`): the integer
    says which, from 0.
    """

    name: str
    low: float
    high: float
    default: float
    log: bool = False
    integer: bool = False
    choices: tuple[str, ...] = ()

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
        for value in (self.low, self.high, self.default):
            if self.integer and value != round(value):
                raise ValueError(f"variable {self.name!r}: {value} is not a whole number")

    @classmethod
    def one_of(cls, name: str, choices: Sequence[str], default: str) -> Variable:
        """A category. Raises ValueError for fewer than two choices, one that appears twice, or a
        default that is none of them."""
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise ValueError(
                f"variable {name!r}: need at least two distinct choices, got {list(choices)}"
            )
        if default not in choices:
            raise ValueError(f"variable {name!r}: default {default!r} is not in {list(choices)}")
        where = choices.index(default)
        return cls(name, 0, len(choices) - 1, where, integer=True, choices=tuple(choices))

    def facts(self) -> dict[str, Any]:
        """Its fields as plain values; of a real variable those that it has always had."""
        facts = asdict(self) | {"choices": list(self.choices)}
        return {key: facts[key] for key in facts if key not in ("integer", "choices") or facts[key]}

    def said(self, value: float) -> float | int | str:
        """`value` as a person writes it: a whole number as one, a choice by its name."""
        if self.choices:
            return self.choices[round(value)]
        return round(value) if self.integer else value

    @property
    def ends(self) -> tuple[float, float]:
        """What 0 and 1 stand for in the unit cube: each whole number is the middle of a share of
        its own, so that a uniform draw rounds to all of them alike."""
        return (self.low - 0.5, self.high + 0.5) if self.integer else (self.low, self.high)

    def to_unit(self, value: float) -> float:
        """Position of `value` in `[0, 1]` on this variable's own scale."""
        low, high = self.ends
        if self.log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def from_unit(self, position: float) -> float:
        """Inverse of `to_unit`; positions outside `[0, 1]` are clipped to the bounds."""
        if position <= 0 or position >= 1:  # the ends exactly
            return self.low if position <= 0 else self.high
        low, high = self.ends
        if self.log:
            value = low * math.exp(position * math.log(high / low))
        else:
            value = low + position * (high - low)
        value = float(round(value)) if self.integer else value
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
        text = json.dumps([variable.facts() for variable in self.variables])
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
        unknown, or a value is not finite, not whole where it must be, or outside its bounds.
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
            if variable.integer and value != round(value):
                raise ValueError(f"{variable.name} = {value} is not a whole number")
            checked[variable.name] = value
        return checked
