"""Two samples against each other: scipy's answers, worked examples, and error rates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.analysis.comparison import Difference, holm, improvement, paired, unpaired

finite = st.floats(-1e3, 1e3)


def samples(seed: int, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, n), rng.normal(0.0, 1.0, m)


@given(st.integers(0, 10**6), st.integers(2, 12))
def test_paired_is_scipys(seed: int, n: int) -> None:
    x, y = samples(seed, n, n)
    expected = stats.ttest_rel(x, y)
    interval = expected.confidence_interval(0.95)
    found = paired(x, y)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.n == n


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(2, 12))
def test_unpaired_is_scipys_welch(seed: int, n: int, m: int) -> None:
    x, y = samples(seed, n, m)
    expected = stats.ttest_ind(x, y, equal_var=False)
    interval = expected.confidence_interval(0.95)
    found = unpaired(x, y)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.n == min(n, m)


@pytest.mark.parametrize("compare", [paired, unpaired])
def test_on_the_log_scale_it_is_a_ratio(compare: Callable[..., Difference]) -> None:
    x, y = np.array([2.0, 4.0, 9.0]), np.array([1.0, 3.0, 2.0])
    found, plain = compare(x, y, log=True), compare(np.log(x), np.log(y))
    assert found.value == pytest.approx((2 * 4 * 9 / (1 * 3 * 2)) ** (1 / 3))
    assert found.low == pytest.approx(np.exp(plain.low))
    assert found.p == pytest.approx(plain.p)


def test_only_whole_pairs_enter() -> None:
    x = np.array([[1.0, 1.0], [2.0, np.nan], [4.0, np.inf], [5.0, 2.0]])
    y = np.array([[0.0, 1.0], [0.5, 2.0], [np.nan, 3.0], [3.0, 3.0]])
    found = paired(x, y)
    assert found.n.tolist() == [3, 2]
    assert found.p[0] == pytest.approx(stats.ttest_rel(x[[0, 1, 3], 0], y[[0, 1, 3], 0]).pvalue)


def test_one_pair_has_no_interval() -> None:
    found = paired([1.0], [0.0])
    assert found.value == 1.0
    assert np.isnan([found.low, found.high, found.p]).all()


def test_samples_without_spread() -> None:
    assert paired([1, 1, 1], [1, 1, 1]).p == 1
    assert paired([2, 2, 2], [1, 1, 1]).p == 0
    assert unpaired([1, 1, 1], [1, 1]).p == 1
    assert unpaired([2, 2, 2], [1, 1]).p == 0


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
    p = paired(x[:, first], x[:, second]).p
    wrong = np.mean([holm(column).min() < 0.05 for column in p.T])
    alone = np.mean(p.min(axis=0) < 0.05)
    assert wrong < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)
    assert alone > 0.1  # what happens without it


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=8),
    st.lists(st.integers(0, 5), min_size=2, max_size=8),
)
def test_improvement_is_mann_whitneys_u(x: list[int], y: list[int]) -> None:
    found = improvement(x, y, higher_is_better=True)
    assert found.value == pytest.approx(stats.mannwhitneyu(x, y).statistic / len(x) / len(y))
    assert 0 <= found.low <= found.value <= found.high <= 1
    turned = improvement(y, x, higher_is_better=True)
    assert (turned.low, turned.high) == pytest.approx((1 - found.high, 1 - found.low))
    assert improvement(x, y, higher_is_better=False).value == pytest.approx(turned.value)


def test_improvement_interval_solves_its_equation() -> None:
    """At both ends the score is 1.96 standard errors away; also where the estimate is 1."""
    n, m = 6, 4
    for x, y in ((range(2, 8), (0, 1, 3, 6.5)), (range(5, 11), range(4))):
        found = improvement(list(x), list(y), higher_is_better=True)
        for theta in {found.low, found.high} - {1.0}:
            spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
            variance = theta * (1 - theta) / (n * m) * (1 + 4 * spread)
            assert abs(found.value - theta) == pytest.approx(1.959964 * np.sqrt(variance))
    assert found.value == found.high == 1.0


def test_improvement_with_too_few() -> None:
    assert np.isnan(improvement([], [1.0], True).value)
    assert np.isnan(improvement([1.0], [2.0, 3.0], True).low)
    assert improvement([np.nan, 1.0, 2.0], [0.0, 3.0], True).n == (2, 2)
