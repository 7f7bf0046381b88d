"""Estimators against closed forms, finite differences and exact optima on Gaussians."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor

from tasks.finetune import estimators

Reward = Callable[[Tensor], Tensor]


def parabola(target: float) -> Reward:
    return lambda x: -((x - target) ** 2) / 2


CASES: dict[str, tuple[Reward, Reward]] = {
    "linear": (parabola(1.5), lambda x: x),
    "near": (parabola(1.5), parabola(3)),
    "far": (parabola(1), parabola(6)),
}
OPTIMA = {"linear": 2 / 3, "near": 0.8, "far": 4.5385}
ROOTS = {
    ("linear", 1): 0.5965,
    ("linear", 10): 0.6562,
    ("linear", 100): 0.6656,
    ("linear", 1000): 0.6666,
    ("near", 1): 0.7206,
    ("near", 10): 0.7907,
    ("near", 100): 0.7991,
    ("near", 1000): 0.7999,
    ("far", 1): 4.3395,
    ("far", 10): 4.517,
    ("far", 100): 4.536,
    ("far", 1000): 4.538,
}


def standard_normal() -> tuple[Tensor, Tensor]:
    """A fine grid and the normalised log density of N(0, 1) on it: expectations by quadrature."""
    x = torch.linspace(-12, 14, 20001, dtype=torch.float64)
    return x, torch.log_softmax(-(x**2) / 2, dim=0)


def mean_upper(case: str, strength: float) -> float:
    """E[r1] under p_lambda by quadrature, written independently of the estimators."""
    x, base = standard_normal()
    upper, lower = (reward(x).numpy() for reward in CASES[case])
    exponent = lower / strength + base.numpy()
    density = np.exp(exponent - exponent.max())
    return float((density * upper).sum() / density.sum())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strength", [0.3, 1.0, 4.0, 20.0])
def test_covariance_form_is_the_derivative_of_the_upper_objective(
    case: str, strength: float
) -> None:
    x, base = standard_normal()
    upper, lower = (reward(x) for reward in CASES[case])
    gradient, _ = estimators.pool_gradient(upper, lower, strength, base)
    step = 1e-4 * strength
    difference = -(mean_upper(case, strength + step) - mean_upper(case, strength - step))
    assert gradient.item() == pytest.approx(difference / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_covariance_form_vanishes_at_the_exact_optimum(case: str) -> None:
    x, base = standard_normal()
    upper, lower = (reward(x) for reward in CASES[case])
    root = brentq(lambda s: estimators.pool_gradient(upper, lower, s, base)[0].item(), 0.2, 20)
    assert root == pytest.approx(OPTIMA[case], abs=1e-3)


@pytest.mark.parametrize(("case", "gamma"), ROOTS)
def test_penalty_gradient_has_its_root_where_theory_says(case: str, gamma: float) -> None:
    x, base = standard_normal()
    upper, lower = (reward(x) for reward in CASES[case])
    root = brentq(
        lambda s: estimators.penalty_gradient(upper, lower, s, gamma, base).item(), 0.2, 20
    )
    assert root == pytest.approx(ROOTS[case, gamma], abs=1e-3)


def penalty_objective(case: str, strength: float, gamma: float) -> float:
    x, base = standard_normal()
    upper, lower = (reward(x) for reward in CASES[case])
    y = estimators.log_partition(lower / strength, base).item()
    z = estimators.log_partition((lower + upper / gamma) / strength, base).item()
    return gamma * strength * (y - z)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 10.0, 300.0])
def test_penalty_gradient_is_the_derivative_of_the_penalty_objective(
    case: str, gamma: float
) -> None:
    x, base = standard_normal()
    upper, lower = (reward(x) for reward in CASES[case])
    step = 1e-4
    difference = penalty_objective(case, 2 + step, gamma) - penalty_objective(case, 2 - step, gamma)
    gradient = estimators.penalty_gradient(upper, lower, 2.0, gamma, base)
    assert gradient.item() == pytest.approx(difference / (2 * step), rel=1e-4, abs=1e-6)


def test_penalty_gradient_tends_to_the_covariance_form() -> None:
    x, base = standard_normal()
    upper, lower = (reward(x) for reward in CASES["near"])
    limit, _ = estimators.pool_gradient(upper, lower, 2.0, base)
    errors = [
        abs(estimators.penalty_gradient(upper, lower, 2.0, gamma, base) - limit).item()
        for gamma in (10.0, 100.0, 1000.0)
    ]
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)  # O(1 / gamma)
    assert errors[2] == pytest.approx(errors[1] / 10, rel=0.1)


def test_divergence_of_a_linear_tilt_is_half_the_squared_shift() -> None:
    x, base = standard_normal()
    assert estimators.tilt_divergence(x / 0.5, base).item() == pytest.approx(2.0, rel=1e-9)
    assert estimators.log_partition(x / 0.5, base).item() == pytest.approx(2.0, rel=1e-9)


def test_published_estimator_vanishes_where_the_reward_is_back_at_its_start() -> None:
    x, base = standard_normal()
    upper, lower = (reward(x) for reward in CASES["linear"])
    root = brentq(
        lambda s: estimators.published_gradient(upper, lower, s, 1e5, base).item(), 0.1, 2
    )
    assert root == pytest.approx(1 / 3, abs=1e-3)
    assert mean_upper("linear", root) == pytest.approx((base.exp() @ upper).item(), abs=1e-3)


def test_guided_and_pool_samples_agree_with_the_closed_form() -> None:
    """For r2 = x the tilted law is N(1 / lambda, 1), so everything is known."""
    strength, generator = 1.25, torch.Generator().manual_seed(0)
    normal = torch.randn(400_000, generator=generator)
    upper, lower = CASES["linear"]
    exact = (1.5 - 1 / strength) / strength**2  # d/dlambda of -E[r1] = (1/lambda - 1.5)²/2 + 1/2
    tilted = normal + 1 / strength
    guided = estimators.covariance_gradient(upper(tilted), lower(tilted), strength)
    pool, share = estimators.pool_gradient(upper(normal), lower(normal), strength)
    assert guided.item() == pytest.approx(exact, abs=0.01)
    assert pool.item() == pytest.approx(exact, abs=0.02)
    assert share.item() == pytest.approx(math.exp(-1 / strength**2), rel=0.05)


def test_float32_agrees_with_float64() -> None:
    x = torch.randn(4096, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    upper, lower = (reward(x) for reward in CASES["near"])
    single = upper.float(), lower.float()
    for strength in (0.02, 0.5, 50.0):
        double, share = estimators.pool_gradient(upper, lower, strength)
        float32, share32 = estimators.pool_gradient(*single, strength)
        assert float32.dtype == torch.float32
        assert float32.item() == pytest.approx(double.item(), rel=2e-3, abs=1e-6)
        assert share32.item() == pytest.approx(share.item(), rel=1e-3)
    for gamma in (1.0, 100.0):
        assert estimators.penalty_gradient(*single, 2.0, gamma).item() == pytest.approx(
            estimators.penalty_gradient(upper, lower, 2.0, gamma).item(), rel=1e-2, abs=1e-4
        )


def test_small_strength_does_not_overflow() -> None:
    lower = torch.tensor([0.0, 5.0, 10.0])
    gradient, share = estimators.pool_gradient(torch.tensor([1.0, 2.0, 3.0]), lower, 0.01)
    assert gradient.item() == 0
    assert share.item() == pytest.approx(1 / 3)
    assert torch.isfinite(estimators.penalty_gradient(lower, lower, 0.01, 10.0))


@settings(deadline=None)
@given(st.lists(st.floats(-500, 500), min_size=1, max_size=30), st.floats(-300, 300))
def test_weights_are_normalised_and_ignore_a_common_shift(
    scores: list[float], shift: float
) -> None:
    values = torch.tensor(scores, dtype=torch.float64)
    weights = estimators.log_weights(values)
    assert weights.exp().sum().item() == pytest.approx(1)
    torch.testing.assert_close(estimators.log_weights(values + shift), weights)
    size = estimators.effective_sample_size(weights).item()
    assert 1 - 1e-9 <= size <= len(scores) * (1 + 1e-9)
    assert estimators.tilt_divergence(values).item() >= -1e-9


def test_moments_by_group_agree_with_numpy() -> None:
    generator = torch.Generator().manual_seed(2)
    upper, lower = torch.randn(2, 60, generator=generator) + 100
    group = torch.randint(3, (60,), generator=generator)
    found = estimators.moments(upper, lower, group, 3)
    for index in range(3):
        pair = np.stack([upper[group == index].double(), lower[group == index].double()])
        expected = np.cov(pair)
        assert found.upper[index].item() == pytest.approx(pair[0].mean())
        assert found.upper_spread[index].item() == pytest.approx(math.sqrt(expected[0, 0]))
        assert found.lower_spread[index].item() == pytest.approx(math.sqrt(expected[1, 1]))
        assert found.covariance[index].item() == pytest.approx(expected[0, 1])
    pooled = estimators.moments(upper, lower, group, 1)
    assert pooled.covariance.item() == pytest.approx(
        estimators.covariance(upper.double(), lower.double()).item()
    )


def test_a_missing_group_is_not_a_number_and_missing_labels_are_an_error() -> None:
    values = torch.arange(4.0)
    found = estimators.moments(values, values, torch.tensor([0, 0, 0, 2]), 3)
    assert torch.isnan(found.covariance).tolist() == [False, True, True]
    with pytest.raises(ValueError, match="not grouped"):
        estimators.moments(values, values, None, 2)


def test_too_few_samples_and_bad_gamma_are_errors() -> None:
    one = torch.ones(1)
    with pytest.raises(ValueError, match="two samples"):
        estimators.covariance_gradient(one, one, 1.0)
    with pytest.raises(ValueError, match="gamma must be positive"):
        estimators.penalty_gradient(one, one, 1.0, 0.0)
