"""Two samples against each other: paired over seeds, unpaired, and corrected for many pairs.

All functions work along the first axis and take samples of any trailing shape, so that one call
compares two methods at every fraction of the budget. Values that are not finite do not enter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtr, stdtrit

from benchmark.analysis.statistics import CONFIDENCE

Array = npt.NDArray[np.float64]


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


@dataclass(frozen=True)
class Probability:
    """A probability, its interval, and the sizes of the two samples behind it."""

    value: float
    low: float
    high: float
    n: tuple[int, int]


def improvement(
    first: ArrayLike,
    second: ArrayLike,
    higher_is_better: bool,
    confidence: float = CONFIDENCE,
) -> Probability:
    """Probability that a run of the first sample is better than one of the second.

        θ = P(X better than Y) + P(X = Y) / 2 = U / (n m),    U the Mann-Whitney statistic

    (Agarwal et al., NeurIPS 2021, on one task.) The interval inverts a score test,
    (θ̂ - θ)² <= z² V(θ), with the variance of Hanley and McNeil (Radiology 1982) at equal weights,

        V(θ) = θ (1 - θ) / (n m) · (1 + N ((1 - θ) / (2 - θ) + θ / (1 + θ))),  N = (n + m) / 2 - 1

    (Newcombe, Statistics in Medicine 2006, part 2), so that it has a width also where one sample
    is better throughout. Assumes independent runs.
    """
    x, y = (sample[np.isfinite(sample)] for sample in map(_array, (first, second)))
    n, m = len(x), len(y)
    if not n or not m:
        return Probability(np.nan, np.nan, np.nan, (n, m))
    sign = 1.0 if higher_is_better else -1.0
    value = float(np.mean(0.5 + 0.5 * np.sign(sign * (x[:, None] - y[None, :]))))
    if n < 2 or m < 2:
        return Probability(value, np.nan, np.nan, (n, m))
    z = float(ndtri(0.5 + confidence / 2))

    def outside(theta: float) -> bool:
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) / (n * m) * (1 + ((n + m) / 2 - 1) * spread)
        return (value - theta) ** 2 > z * z * variance

    return Probability(value, _edge(outside, 0.0, value), _edge(outside, 1.0, value), (n, m))


def _edge(outside: Callable[[float], bool], far: float, inside: float) -> float:
    """Where the interval around `inside` ends on the way to `far`, by bisection."""
    if far == inside:
        return far
    for _ in range(50):
        middle = (far + inside) / 2
        if outside(middle):
            far = middle
        else:
            inside = middle
    return (far + inside) / 2


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
