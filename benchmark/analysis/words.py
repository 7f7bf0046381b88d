"""Numbers and lists of names inside sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from benchmark.study.model import Metric

MOST = 3
"""Things that a sentence lists; the others it counts."""


def number(value: float, digits: int = 3) -> str:
    """`value` to some significant digits, without an exponent where that is short."""
    text = f"{value:#.{digits}g}".rstrip(".")
    return text if "e" in text else text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float) -> str:
    """A share of 1, with more digits near 100 %."""
    return f"{number(100 * share, 3 if share > 0.985 else 2)} %"


def change(metric: Metric, effect: float, other: str = "") -> str:
    """The effect of a comparison, such as `FID 20 % lower` or `FID 20 % lower than random's`."""
    if effect != effect:
        return f"no {metric.label} of both on any seed"
    if metric.log and effect >= 2:
        times = f"{metric.label} {number(effect, 2)} times"
        return f"{times} {other}'s" if other else f"{times} as high"
    size = percent(abs(effect - 1)) if metric.log else number(abs(effect), 2)
    higher = effect > (1.0 if metric.log else 0.0)
    than = f" than {other}'s" if other else ""
    return f"{metric.label} {size} {'higher' if higher else 'lower'}{than}"


def p_value(value: float) -> str:
    return "p < 0.0001" if value < 1e-4 else f"p = {number(value, 2)}"


def names(listed: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]


def some(listed: Sequence[str], joint: str = ", ") -> str:
    """The first of a list, and how many more there are."""
    kept = list(listed[:MOST])
    if len(listed) > MOST:
        return f"{joint.join(kept)}{joint}and {len(listed) - MOST} more"
    return names(kept) if joint == ", " else joint.join(kept)


def count(number: int, what: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def seeds(counts: Iterable[int]) -> str:
    """`3 seeds`, or `6 to 8 seeds` where they differ; zeros are left out."""
    known = {int(n) for n in counts if n} or {0}
    fewest, most = min(known), max(known)
    return count(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def tally(states: pd.Series) -> str:
    """`3 finished, 1 failed`: how often there is what, the most frequent first."""
    return ", ".join(f"{number} {state}" for state, number in states.value_counts().items())


def interval(value: float, low: float, high: float) -> str:
    """`3.8 [3.5, 4.1]`; the value alone where there is no interval."""
    if value != value:
        return "no finite value"
    if low != low or high != high:
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def capital(text: str) -> str:
    return text[0].upper() + text[1:]
