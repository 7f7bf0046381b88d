"""Summaries of a few seeds, each with its number of values.

Student-t intervals are used because a percentile bootstrap of the mean covers far less than
its nominal level at 3 to 10 seeds. Means and intervals of positive metrics such as FID are
taken on the log scale, which makes them geometric means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike
from scipy.special import stdtrit
from scipy.stats import trim_mean

Array = npt.NDArray[np.float64]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A central value and its interval, one entry per column of the sample (0-d for one)."""

    value: Array
    low: Array
    high: Array
    n: Array
    """How many finite values entered; the interval is NaN below two, the value below one."""


def mean_interval(sample: ArrayLike, log: bool = False, confidence: float = CONFIDENCE) -> Estimate:
    """Mean over the first axis with its two-sided Student-t interval.

        mean ± t(1 - α/2, n - 1) · s / √n,    s² = Σ (x - mean)² / (n - 1)

    (Student, 1908; e.g. NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.2). With
    `log`, the same on log x and back: the geometric mean and an asymmetric interval.
    Values that are not finite, or not positive with `log`, do not enter and lower `n`.
    """
    x = np.asarray(sample, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.log(x) if log else x
        known = np.isfinite(x)
        n = known.sum(axis=0)
        mean = np.where(known, x, 0.0).sum(axis=0) / n
        squares = (np.where(known, x - mean, 0.0) ** 2).sum(axis=0)
        quantile = stdtrit(np.where(n > 1, n - 1, np.nan), 0.5 + confidence / 2)
        half = quantile * np.sqrt(squares / (n - 1) / n)
        low, high = mean - half, mean + half
        if log:
            mean, low, high = np.exp(mean), np.exp(low), np.exp(high)
    return Estimate(np.asarray(mean), np.asarray(low), np.asarray(high), np.asarray(n))


def median(sample: ArrayLike) -> float:
    """Median of the finite values; NaN if there are none."""
    x = _finite(sample)
    return float(np.median(x)) if len(x) else float("nan")


def iqm(sample: ArrayLike) -> float:
    """Interquartile mean: the mean of what is left after trimming a quarter at each end.

    (Agarwal et al., NeurIPS 2021, "Deep RL at the Edge of the Statistical Precipice".)
    Below four values nothing would be trimmed, so the answer is NaN.
    """
    x = _finite(sample)
    return float(trim_mean(x, 0.25)) if len(x) >= 4 else float("nan")


def _finite(sample: ArrayLike) -> Array:
    x: Array = np.asarray(sample, dtype=float)
    return x[np.isfinite(x)]
