"""Intervals against scipy and worked examples, and what happens to too few values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.analysis.statistics import (
    denormalised,
    mean_interval,
    mean_of_means,
    normalised,
    running_time_interval,
)
from docs.studies import coverage

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
    assert mean_interval([-1.0, 5.0], log=True).n == 1


@pytest.mark.parametrize("zero", [0.0, -0.0, -7e-15])
def test_a_distance_of_zero_is_a_value(zero: float) -> None:
    """The geometric mean of samples with a zero is 0; there is no interval on the log scale."""
    estimate = mean_interval([[zero, 2.0], [5.0, 8.0], [5.0, 4.0]], log=True)
    assert estimate.n.tolist() == [3, 3]
    assert estimate.value == pytest.approx([0.0, 4.0])
    assert np.isnan(estimate.low[0])
    assert np.isnan(estimate.high[0])
    assert mean_interval([zero, zero], log=True).value == 0.0


def test_coverage_at_three_seeds() -> None:
    """The nominal 95 % holds on normal data, where a percentile bootstrap gives 73 %."""
    sample = np.random.default_rng(0).normal(size=(3, 4000))
    estimate = mean_interval(sample)
    coverage = np.mean((estimate.low < 0) & (estimate.high > 0))
    assert 0.94 < coverage < 0.96


def test_running_time_by_hand() -> None:
    """60 hours, 3 successes: 120 / χ²(0.975, 8) = 120 / 17.53 and 120 / χ²(0.025, 6) = 1.237."""
    estimate = running_time_interval(60.0, 3, 5)
    assert estimate.value == 20
    assert estimate.low == pytest.approx(120 / 17.5345, rel=1e-4)
    assert estimate.high == pytest.approx(120 / 1.23734, rel=1e-4)
    assert estimate.n == 5


def test_running_time_without_success_has_a_lower_end() -> None:
    estimate = running_time_interval(60.0, 0, 5)
    assert estimate.value == estimate.high == np.inf
    assert estimate.low == pytest.approx(60 / -np.log(0.025))


def test_mean_of_means_of_one_stratum_is_students() -> None:
    estimate, plain = mean_of_means([[2, 4, 6, 8]]), mean_interval([2, 4, 6, 8])
    np.testing.assert_allclose([estimate.low, estimate.high], [plain.low, plain.high])


def test_mean_of_means_of_two_is_welchs() -> None:
    """(mean(x) + mean(y)) / 2: half of Welch's difference of x and -y."""
    x, y = [1.0, 2.0, 4.0], [10.0, 10.5, 12.0, 9.0]
    welch = stats.ttest_ind(x, np.negative(y), equal_var=False).confidence_interval(0.95)
    estimate = mean_of_means([x, y])
    assert (estimate.low, estimate.high) == pytest.approx((welch.low / 2, welch.high / 2))
    assert estimate.n == 7
    assert np.isnan(mean_of_means([x, []]).value)
    assert np.isnan(mean_of_means([x, [1.0]]).low)


def test_normalised_puts_the_references_at_0_and_1() -> None:
    assert normalised([2.0, 3.0, 4.0], 2.0, 4.0).tolist() == [0.0, 0.5, 1.0]
    assert normalised([8.0, 4.0, 2.0], 8.0, 2.0, log=True) == pytest.approx([0.0, 0.5, 1.0])
    assert np.isnan(normalised([1.0], 2.0, 2.0)).all()


def test_zero_is_the_best_score_on_the_log_scale_and_finite() -> None:
    zero, below, small = normalised([0.0, -1e-14, 1e-5], 8.0, 2.0, log=True)
    assert np.isfinite(zero)
    assert zero == below > small > 1.0
    assert np.isnan(normalised([-1.0, np.nan], 8.0, 2.0, log=True)).all()


@given(st.floats(-1, 2), st.floats(0.1, 9), st.floats(0.1, 9), st.booleans())
def test_denormalised_undoes_normalised(share: float, zero: float, one: float, log: bool) -> None:
    if abs(zero - one) > 1e-3:
        value = denormalised(share, zero, one, log)
        assert normalised(value, zero, one, log) == pytest.approx(share, abs=1e-9)


def test_intervals_cover_in_simulation() -> None:
    """A small run of docs/studies/coverage.py, whose full table is in docs/statistics.md.

    Exact intervals are within three standard errors of 95 %, conservative ones not below, and
    approximate ones above 90 %.
    """
    draws = 1000
    slack = 3 * np.sqrt(0.05 * 0.95 / draws)
    for case in coverage.CASES:
        found = case.coverage(6, draws, np.random.default_rng(6))
        if case.expected == "exact":
            assert abs(found - 0.95) < slack, case
        elif case.expected == "at least":
            assert found > 0.95 - slack, case
        elif case.expected == "approximate":
            assert found > 0.9, case
