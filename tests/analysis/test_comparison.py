"""Two samples against each other: scipy's answers, worked examples, and error rates."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.analysis.claims import compare
from benchmark.analysis.comparison import Difference, holm, sign_flip, smallest_p, unpaired
from benchmark.study.model import Metric

finite = st.floats(-1e3, 1e3)


def samples(seed: int, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, n), rng.normal(0.0, 1.0, m)


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(2, 12))
def test_unpaired_is_scipys_welch(seed: int, n: int, m: int) -> None:
    x, y = samples(seed, n, m)
    expected = stats.ttest_ind(x, y, equal_var=False)
    interval = expected.confidence_interval(0.95)
    found = unpaired(x, y)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.n == min(n, m)


def test_on_the_log_scale_it_is_a_ratio() -> None:
    x, y = np.array([2.0, 4.0, 9.0]), np.array([1.0, 3.0, 2.0])
    found, plain = unpaired(x, y, log=True), unpaired(np.log(x), np.log(y))
    assert found.effect == pytest.approx((2 * 4 * 9 / (1 * 3 * 2)) ** (1 / 3))
    assert found.low == pytest.approx(np.exp(plain.low))
    assert found.p == pytest.approx(plain.p)


def test_values_that_are_not_finite_do_not_enter() -> None:
    found = unpaired([1.0, 2.0, np.nan, 5.0, np.inf], [0.0, 0.5, np.nan])
    assert found == unpaired([1.0, 2.0, 5.0], [0.0, 0.5])
    assert found.n == 2


@pytest.mark.parametrize("log", [False, True])
def test_one_value_has_no_interval(log: bool) -> None:
    found = unpaired([1.0], [1.0, 1.0], log)
    assert found.effect == (1.0 if log else 0.0)
    assert np.isnan([found.low, found.high, found.p]).all()
    assert np.isnan(unpaired([], [1.0, 2.0], log).effect)


def test_samples_without_spread() -> None:
    assert unpaired([1, 1, 1], [1, 1]).p == 1
    assert unpaired([2, 2, 2], [1, 1]) == Difference(1.0, 1.0, 1.0, 0.0, 2)


def test_holm_worked_example() -> None:
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, np.nan, 0.6]).tolist() == pytest.approx([0.02, np.nan, 0.6], nan_ok=True)
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferronis(p: list[float]) -> None:
    adjusted = holm(p)
    bonferroni = np.minimum(1.0, len(p) * np.asarray(p))
    assert (adjusted >= np.asarray(p)).all()
    assert (adjusted <= bonferroni + 1e-15).all()
    assert adjusted.min() == bonferroni.min()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def test_holm_holds_the_family() -> None:
    """Six true null hypotheses on the same four samples: a false claim in at most 5 %."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4, 1000))
    first, second = np.triu_indices(4, 1)
    p = stats.ttest_rel(x[:, first], x[:, second]).pvalue
    wrong = np.mean([holm(column).min() < 0.05 for column in p.T])
    alone = np.mean(p.min(axis=0) < 0.05)
    assert wrong < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)
    assert alone > 0.1  # what happens without it


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=10))
def test_sign_flip_counts_all_signs(d: list[int]) -> None:
    sums = [abs(np.dot(signs, d)) for signs in product([-1, 1], repeat=len(d))]
    assert sign_flip(d) == np.mean(np.array(sums) >= abs(sum(d)))


@given(st.integers(0, 10**6), st.integers(2, 13))
def test_sign_flip_is_scipys_permutation_test(seed: int, n: int) -> None:
    d = np.random.default_rng(seed).normal(0.4, 1.0, n)
    expected = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert sign_flip(d) == pytest.approx(expected.pvalue)


def test_sign_flip_is_exact_at_twenty_and_at_forty() -> None:
    """All differences 1: P(Binomial(n, 1/2) is at least as far from n / 2 as k)."""
    for n, negative in ((20, 4), (21, 5), (40, 9)):
        d = np.where(np.arange(n) < negative, -1.0, 1.0)
        assert sign_flip(d) == pytest.approx(stats.binomtest(negative, n).pvalue, rel=1e-12)


def test_sign_flip_above_forty_is_drawn() -> None:
    d = np.random.default_rng(3).normal(0.25, 1.0, 60)
    expected = 2 * stats.norm.sf(abs(d.sum()) / np.sqrt((d**2).sum()))
    assert sign_flip(d) == pytest.approx(expected, abs=0.005)
    assert sign_flip(np.ones(60)) == pytest.approx(1 / 100_001)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 10])
def test_the_smallest_p_is_attained(n: int) -> None:
    assert sign_flip(np.linspace(1, 2, n)) == smallest_p(n) == 2 / 2**n


def test_infinite_differences_outweigh_all_finite_ones() -> None:
    """One infinite loss among nine wins: no sum of signs is smaller, so p is 1."""
    assert sign_flip([-np.inf, *[5.0] * 9]) == 1.0
    assert sign_flip([np.inf, *[5.0] * 9]) == smallest_p(10)
    assert sign_flip([np.inf] * 5 + [-0.2] * 5) > 0.05
    assert sign_flip([np.inf, -np.inf]) == 1.0


def test_sign_flip_of_nothing_and_of_zeros() -> None:
    assert np.isnan(sign_flip([]))
    assert np.isnan(smallest_p(0))
    assert sign_flip([0.0, 0.0]) == 1.0


@given(st.integers(0, 10**6), st.integers(2, 12), st.booleans(), st.booleans())
def test_the_interval_of_an_effect_is_scipys_paired_one(
    seed: int, n: int, log: bool, higher: bool
) -> None:
    x, y = samples(seed, n, n)
    metric = Metric("m", "m", log=log, higher_is_better=higher)
    expected = stats.ttest_rel(x, y)
    ends = [np.mean(x - y), *expected.confidence_interval(0.95)]
    values = [pd.Series(np.exp(sample) if log else sample) for sample in (x, y)]
    found = compare(*values, metric)
    assert [found.effect, found.low, found.high] == pytest.approx(np.exp(ends) if log else ends)
    assert found.n == n
