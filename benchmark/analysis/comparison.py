"""Tests of differences: exact over paired seeds, unpaired, and corrected for many pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from benchmark.analysis.statistics import CONFIDENCE, Array, finite, on_scale

MOST_EXACT = 40
"""Differences up to which all vectors of signs are counted."""


@dataclass(frozen=True)
class Difference:
    """First minus second sample, or their ratio on the log scale, with its interval."""

    effect: float
    low: float
    high: float
    p: float
    """Two-sided p value of no difference; NaN where the interval is."""
    n: int
    """Size of the smaller sample, of finite values; below two there is no interval."""


def unpaired(first: ArrayLike, second: ArrayLike, log: bool = False) -> Difference:
    """Welch's t test and 95 % interval of the difference of the means of two samples.

        mean(x) - mean(y) ± t(1 - α/2, ν) · √(v_x + v_y),    v = s² / n,
        ν = (v_x + v_y)² / (v_x² / (n_x - 1) + v_y² / (n_y - 1))

    (Welch, Biometrika 1947.) With `log`, the same on log x and log y, and the result is exp of it:
    a ratio of geometric means. Assumes two independent samples that are close to normal; their
    variances and sizes may differ. Samples without spread have p = 1 where they agree, else p = 0.
    """
    x, y = (finite(on_scale(sample, log)) for sample in (first, second))
    n = min(len(x), len(y))
    effect = x.mean() - y.mean() if n else np.nan
    half = p = np.nan
    if n > 1:
        vx, vy = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
        half, p = 0.0, float(effect == 0)
        if error := np.sqrt(vx + vy):
            freedom = error**4 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
            half = stdtrit(freedom, 0.5 + CONFIDENCE / 2) * error
            p = 2 * stdtr(freedom, -abs(effect) / error)
    ends = (effect, effect - half, effect + half)
    value, low, high = (float(np.exp(end) if log else end) for end in ends)
    return Difference(value, low, high, float(p), n)


def holm(p: ArrayLike) -> Array:
    """Holm's adjusted p values: with p(1) <= ... <= p(m),

        adjusted(i) = max over j <= i of min(1, (m - j + 1) p(j))

    (Holm, Scandinavian Journal of Statistics 1979.) All claims with an adjusted p below α hold
    together with probability 1 - α, whatever the dependence between the tests. NaN stays NaN
    and does not count in m.
    """
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = np.minimum(1.0, p[order] * np.arange(len(order), 0, -1))
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def sign_flip(differences: ArrayLike) -> float:
    """Exact two-sided p value of paired differences that are as likely to be d as -d.

        p = share of the 2^n vectors of signs s with |Σ s_i d_i| >= |Σ d_i|

    (Fisher, The Design of Experiments, 1935, section 21.) Nothing is assumed of their
    distribution but that symmetry under the null hypothesis. Infinite differences are larger than
    any sum of finite ones and equal to each other. NaN without any difference; above 40 of them,
    100,000 random vectors of signs and the observed one.
    """
    d = bounded(np.asarray(differences, dtype=float))
    if not len(d):
        return float("nan")
    least = abs(d.sum()) - 1e-12 * np.abs(d).sum()
    if len(d) > MOST_EXACT:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (100_000, len(d)))
        return float((1 + (np.abs(signs @ d) >= least).sum()) / 100_001)
    # The sums of two halves are combined by search: 2^(n/2) steps for 2^n sums. The first sign
    # stays, because turning all signs changes no absolute value.
    half = len(d) // 2 + 1
    first, second = _sums(d[1:half]) + d[0], np.sort(_sums(d[half:]))
    above = len(second) - second.searchsorted(least - first, side="left")
    below = second.searchsorted(-least - first, side="right")
    extreme = len(first) * len(second) if least <= 0 else (above + below).sum()
    return float(extreme / (len(first) * len(second)))


def smallest_p(n: int) -> float:
    """The smallest p value that `sign_flip` can give for n differences: 2 / 2^n."""
    return 2.0 ** (1 - n) if n else float("nan")


def bounded(d: Array) -> Array:
    """Infinite differences as finite ones that exceed the sum of all others."""
    infinite = np.isinf(d)
    return np.where(infinite, np.sign(d) * (4 * np.abs(d[~infinite]).sum() + 1), d)


def _sums(d: Array) -> Array:
    """All 2^n sums of the entries with either sign."""
    sums = np.zeros(1)
    for entry in d:
        sums = np.concatenate([sums - entry, sums + entry])
    return sums
