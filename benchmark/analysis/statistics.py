"""Summaries of a few seeds, each with its number of values.

Student-t intervals are used because a percentile bootstrap of the mean covers far less than
its nominal level at 3 to 10 seeds (docs/statistics.md has the simulation). Means and intervals
of positive metrics such as FID are taken on the log scale, which makes them geometric means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike
from scipy.special import gammaincinv, stdtrit  # scipy.stats takes long to import

Array = npt.NDArray[np.float64]
CONFIDENCE = 0.95
ROUNDING = 1e-6
"""Distances this far below zero are rounding errors of zero."""


@dataclass(frozen=True)
class Estimate:
    """A central value and its interval, one entry per column of the sample (0-d for one)."""

    value: Array
    low: Array
    high: Array
    n: Array
    """How many finite values entered; the interval is NaN below two, the value below one."""

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Value, low and high of a single sample."""
        return float(self.value), float(self.low), float(self.high)


def mean_interval(sample: ArrayLike, log: bool = False) -> Estimate:
    """Mean over the first axis with its two-sided Student-t interval.

        mean ± t(1 - α/2, n - 1) · s / √n,    s² = Σ (x - mean)² / (n - 1)

    (Student, 1908; e.g. NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.2). With
    `log`, the same on log x and back: the geometric mean and an asymmetric interval.
    Values that are not finite, or negative with `log`, do not enter and lower `n`; with a zero
    the geometric mean is 0 and has no interval.
    """
    x = on_scale(sample, log)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.isfinite(x) | (np.isneginf(x) & log)
        n = known.sum(axis=0)
        mean = np.where(known, x, 0.0).sum(axis=0) / n
        squares = (np.where(known, x - mean, 0.0) ** 2).sum(axis=0)
        quantile = stdtrit(np.where(n > 1, n - 1, np.nan), 0.5 + CONFIDENCE / 2)
        half = quantile * np.sqrt(squares / (n - 1) / n)
        low, high = mean - half, mean + half
        if log:
            with np.errstate(over="ignore"):  # an end beyond all numbers is infinite
                mean, low, high = np.exp(mean), np.exp(low), np.exp(high)
    return Estimate(np.asarray(mean), np.asarray(low), np.asarray(high), np.asarray(n))


def running_time_interval(total: float, successes: int, runs: int) -> Estimate:
    """Expected running time from the `total` cost of all runs, with its chi-squared interval.

        total / k in [2 total / χ²(1 - α/2, 2 k + 2), 2 total / χ²(α/2, 2 k)]

    for k successes (Hansen et al., 2021, COCO, for the estimate; Epstein, 1960, and
    NIST/SEMATECH e-Handbook 8.4.5.1 for the interval under censoring). Exact for times that are
    exponential, which is what restarting until success assumes, and wider than needed for times
    that spread less. Without a success the estimate and its upper end are infinite, and the
    lower end says how long it takes at least.
    """
    tail = (1 - CONFIDENCE) / 2
    low = total / gammaincinv(successes + 1, 1 - tail)  # half a quantile of χ²(2 k + 2)
    high = total / gammaincinv(successes, tail) if successes else np.inf
    return _estimate(total / successes if successes else np.inf, low, high, runs)


def mean_of_means(samples: Sequence[ArrayLike]) -> Estimate:
    """Mean over strata (tasks) of their means over runs, with a Welch-Satterthwaite interval.

        (1/K) Σ mean_k ± t(1 - α/2, ν) · (1/K) √(Σ v_k),    v_k = s_k² / n_k,
        ν = (Σ v_k)² / Σ (v_k² / (n_k - 1))

    (Satterthwaite, Biometrics Bulletin 1946.) The interval is for these tasks: it says nothing
    of others. `n` counts runs. Needs two values in every stratum, else the interval is NaN.
    """
    strata = [finite(sample) for sample in samples]
    n = sum(map(len, strata))
    if not strata or min(map(len, strata)) < 1:
        return _estimate(np.nan, np.nan, np.nan, n)
    value = float(np.mean([x.mean() for x in strata]))
    if min(map(len, strata)) < 2:
        return _estimate(value, np.nan, np.nan, n)
    parts = np.array([x.var(ddof=1) / len(x) for x in strata])
    freedoms = np.array([len(x) - 1 for x in strata])
    if not parts.any():
        return _estimate(value, value, value, n)
    freedom = parts.sum() ** 2 / (parts**2 / freedoms).sum()
    half = stdtrit(freedom, 0.5 + CONFIDENCE / 2) * np.sqrt(parts.sum()) / len(strata)
    return _estimate(value, value - half, value + half, n)


def normalised(values: ArrayLike, default: float, tuned: float, log: bool = False) -> Array:
    """Values on a scale where the task's stored references are 0 (`default`) and 1 (`tuned`).

        (x - default) / (tuned - default),    on log x with `log`

    References are stored with the task, so a score does not move when a method is added.
    NaN where the references are equal or missing. With `log`, values below a millionth of the
    references, 0 among them, score as that.
    """
    x = np.asarray(values, dtype=float)
    if log:
        x = np.where(x > -ROUNDING, np.maximum(x, 1e-6 * min(default, tuned)), x)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, zero, one = (on_scale(value, log) for value in (x, default, tuned))
        return np.asarray(np.where(one != zero, (x - zero) / (one - zero), np.nan))


def denormalised(share: float, default: float, tuned: float, log: bool = False) -> float:
    """The value whose `normalised` score is `share`."""
    zero, one = on_scale([default, tuned], log)
    value = zero + share * (one - zero)
    return float(np.exp(value) if log else value)


def on_scale(values: ArrayLike, log: bool) -> Array:
    """Values, or their logarithms: minus infinity for 0 and for what rounding left below it, NaN
    for other negative values and for infinite ones."""
    x = np.asarray(values, dtype=float)
    x = np.where(np.isinf(x), np.nan, x)
    if not log:
        return x
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(np.where((x < 0) & (x > -ROUNDING), 0.0, x)))


def finite(sample: ArrayLike) -> Array:
    """The finite values."""
    x: Array = np.asarray(sample, dtype=float)
    return x[np.isfinite(x)]


def _estimate(value: float, low: float, high: float, n: int) -> Estimate:
    return Estimate(np.asarray(value), np.asarray(low), np.asarray(high), np.asarray(n))
