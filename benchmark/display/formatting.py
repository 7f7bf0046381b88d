"""Numbers as people read them: no more digits than the interval supports."""

from __future__ import annotations

import math

from benchmark.study.model import Unit

MISSING = "-"
SHORTEST = 0.001
"""Shortest time that is shown as a number of its unit; shorter ones are shown as shorter."""


def number(value: float, digits: int = 3) -> str:
    """`value` to `digits` significant digits; digits before the point are always whole.

    >>> number(0.034567), number(1234.6), number(2.5e7)
    ('0.0346', '1235', '2.50e+07')
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    exponent = _exponent(value)
    if not -4 <= exponent < 6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(digits - 1 - exponent, 0)}f}"


def estimate(value: float, low: float, high: float) -> str:
    """`value [low, high]`, all with the decimals that two digits of the half-width need.

    More of them where an end of the interval would be written as zero and is not: on which side
    of zero it lies is what a reader looks for.
    """
    if math.isnan(value):
        return MISSING
    half = (high - low) / 2
    if math.isnan(half):
        return number(value)
    decimals = _decimals(half, value)
    if decimals is not None:
        for more in range(decimals, decimals + 3):
            if all(end == 0 or float(f"{end:.{more}f}") for end in (low, high)):
                return f"{value:.{more}f} [{low:.{more}f}, {high:.{more}f}]"
    return f"{number(value)} [{number(low)}, {number(high)}]"


def duration(hours: float, unit: Unit) -> str:
    """Device time in the task's unit, for example `12.3 s`; see `SHORTEST`."""
    if math.isnan(hours):
        return MISSING
    time = hours * unit.per_hour
    return f"< {SHORTEST} {unit.name}" if 0 < time < SHORTEST else f"{number(time)} {unit.name}"


def count(value: float) -> str:
    """A mean count: `1204`, `3.5`, `12.5k`, `1.25M`."""
    if math.isnan(value):
        return MISSING
    if value >= 1e6:
        return f"{number(value / 1e6)}M"
    if value >= 1e4:
        return f"{number(value / 1e3)}k"
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def _decimals(half: float, value: float) -> int | None:
    """Decimals that show two digits of `half` and two to four of `value`; None if unwieldy."""
    if not 0 < half < math.inf:
        return None
    size = _exponent(value) if value else _exponent(half)
    decimals = min(max(1 - _exponent(half), 1 - size, 0), max(3 - size, 0))
    return decimals if -5 <= size < 6 else None
