"""Two samples against each other: paired over seeds, unpaired, and corrected for many pairs.

All functions work along the first axis and take samples of any trailing shape, so that one call
compares two methods at every fraction of the budget. Values that are not finite do not enter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from benchmark.analysis.statistics import CONFIDENCE

Array = npt.NDArray[np.float64]
MOST_EXACT = 40
"""Differences up to which all vectors of signs are counted."""


@dataclass(frozen=True)
class Difference:
    """First minus second sample, or their ratio on the log scale; one entry per column."""

    value: Array
    low: Array
    high: Array
    p: Array
    """Two-sided p value of no difference; NaN where the interval is."""
    n: Array
    """Pairs that entered, or the size of the smaller sample; below two there is no interval."""


def paired(
    first: ArrayLike, second: ArrayLike, log: bool = False, confidence: float = CONFIDENCE
) -> Difference:
    """Paired Student t test and interval of the mean difference d of rows of the same seed.

        mean(d) ± t(1 - α/2, n - 1) · s_d / √n,    p = 2 P(T > |mean(d)| √n / s_d)

    (Student, 1908; e.g. NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.1.1.) With `log`,
    d = log first - log second and the result is exp of it: a ratio of geometric means.
    Assumes differences of independent seeds that are close to normal. Samples that agree in
    every row have p = 1, samples that differ by a constant p = 0.
    """
    x, y = _scaled(first, log), _scaled(second, log)
    both = np.isfinite(x) & np.isfinite(y)
    d = np.where(both, np.where(both, x, 0.0) - np.where(both, y, 0.0), np.nan)
    n, mean, variance = _moments(d)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(variance / n)
    return _student(mean, error, n - 1, n, log, confidence)


def unpaired(
    first: ArrayLike, second: ArrayLike, log: bool = False, confidence: float = CONFIDENCE
) -> Difference:
    """Welch's t test and interval of the difference of two means.

        mean(x) - mean(y) ± t(1 - α/2, ν) · √(v_x + v_y),    v = s² / n,
        ν = (v_x + v_y)² / (v_x² / (n_x - 1) + v_y² / (n_y - 1))

    (Welch, Biometrika 1947.) With `log` as in `paired`. Assumes two independent samples that
    are close to normal; their variances and sizes may differ.
    """
    (nx, mx, sx), (ny, my, sy) = (_moments(_scaled(sample, log)) for sample in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        vx, vy = sx / nx, sy / ny
        freedom = (vx + vy) ** 2 / (vx**2 / (nx - 1) + vy**2 / (ny - 1))
        # Two constant samples: any degrees of freedom give the same interval of no width.
        freedom = np.where(vx + vy == 0, nx + ny - 2, freedom)
    return _student(mx - my, np.sqrt(vx + vy), freedom, np.minimum(nx, ny), log, confidence)


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
    d = bounded(_array(differences))
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


def _array(sample: ArrayLike) -> Array:
    return np.asarray(sample, dtype=float)


def _scaled(sample: ArrayLike, log: bool) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(_array(sample)) if log else _array(sample)


def _moments(x: Array) -> tuple[Array, Array, Array]:
    """Number, mean and variance (n - 1) of the finite values of each column."""
    known = np.isfinite(x)
    n = known.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, x, 0.0).sum(axis=0) / n
        squares = np.where(known, x - mean, 0.0) ** 2
        return n, mean, squares.sum(axis=0) / (n - 1)


def _student(
    mean: Array, error: Array, freedom: Array, n: Array, log: bool, confidence: float
) -> Difference:
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(n > 1, freedom, np.nan)
        half = stdtrit(freedom, 0.5 + confidence / 2) * error
        p = 2 * stdtr(freedom, -np.abs(mean / error))
        p = np.where((error == 0) & (n > 1), np.where(mean == 0, 1.0, 0.0), p)
        bounds = [mean, mean - half, mean + half]
        value, low, high = (np.asarray(np.exp(x) if log else x) for x in bounds)
    return Difference(value, low, high, np.asarray(p), np.asarray(n))
