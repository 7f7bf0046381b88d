"""Intervals against scipy and worked examples, and what happens to too few values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.analysis.statistics import iqm, mean_interval, median

finite = st.floats(-1e3, 1e3)


@given(st.lists(finite, min_size=2, max_size=12).filter(lambda x: np.std(x) > 1e-6))
def test_interval_is_scipys(sample: list[float]) -> None:
    expected = stats.t.interval(0.95, len(sample) - 1, loc=np.mean(sample), scale=stats.sem(sample))
    estimate = mean_interval(sample)
    np.testing.assert_allclose([estimate.low, estimate.high], expected, rtol=1e-9, atol=1e-9)
    assert estimate.n == len(sample)


def test_worked_example() -> None:
    """Mean 5, s = 2.58, t(0.975, 3) = 3.182: half-width 4.108."""
    estimate = mean_interval([2, 4, 6, 8])
    assert estimate.value == 5
    assert estimate.high - estimate.value == pytest.approx(3.18245 * 2.58199 / 2, rel=1e-5)


def test_log_scale_gives_the_geometric_mean() -> None:
    estimate = mean_interval([1.0, 4.0, 16.0], log=True)
    assert estimate.value == pytest.approx(4.0)
    plain = mean_interval(np.log([1.0, 4.0, 16.0]))
    assert estimate.low == pytest.approx(np.exp(plain.low))
    assert estimate.low > 0


def test_one_value_has_no_interval() -> None:
    estimate = mean_interval([3.0])
    assert estimate.value == 3.0
    assert np.isnan(estimate.low)
    assert np.isnan(estimate.high)
    assert estimate.n == 1


def test_no_value() -> None:
    estimate = mean_interval(np.empty((0, 2)))
    assert np.isnan(estimate.value).all()
    assert estimate.n.tolist() == [0, 0]


def test_values_that_are_not_finite_do_not_enter_but_count() -> None:
    sample = [[1.0, np.nan], [3.0, np.inf], [np.nan, 2.0]]
    estimate = mean_interval(sample)
    assert estimate.value.tolist() == [2.0, 2.0]
    assert estimate.n.tolist() == [2, 1]
    assert mean_interval([0.0, -1.0, 5.0], log=True).n == 1


def test_coverage_at_three_seeds() -> None:
    """The nominal 95 % holds on normal data, where a percentile bootstrap gives 73 %."""
    sample = np.random.default_rng(0).normal(size=(3, 4000))
    estimate = mean_interval(sample)
    coverage = np.mean((estimate.low < 0) & (estimate.high > 0))
    assert 0.94 < coverage < 0.96


def test_iqm_trims_a_quarter_at_each_end_from_four_values_on() -> None:
    assert np.isnan(iqm([1, 2, 3]))
    assert iqm([1000, 2, 4, -1000]) == 3
    assert iqm(range(8)) == pytest.approx(np.mean([2, 3, 4, 5]))
    assert np.isnan(iqm([1, 2, 3, np.nan]))


def test_median() -> None:
    assert median([3, np.nan, 1]) == 2
    assert np.isnan(median([]))
