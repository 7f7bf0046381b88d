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

from tasks.finetune import estimators, importance

Reward = Callable[[Tensor], Tensor]
Quadratic = tuple[float, float]
"""Slope p and curvature q of p x - q x² / 2."""
Gaussian = tuple[Tensor, Tensor]
"""Mean and variance."""


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
    y = importance.log_partition(lower / strength, base).item()
    z = importance.log_partition((lower + upper / gamma) / strength, base).item()
    return gamma * strength * (y - z)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 10.0, 100.0])
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


def single_precision_error(case: str, gamma: float) -> float:
    """Largest error in (4) by float32, as a share of (3), over samples and strengths."""
    errors = []
    for seed in range(5):
        x = torch.randn(4096, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        upper, lower = (reward(x) for reward in CASES[case])
        for strength in (1.5, 2.0, 3.0):
            scale, _ = estimators.pool_gradient(upper, lower, strength)
            double = estimators.penalty_gradient(upper, lower, strength, gamma)
            single = estimators.penalty_gradient(upper.float(), lower.float(), strength, gamma)
            assert single.dtype == torch.float32
            errors.append(abs((single - double) / scale).item())
    return max(errors)


@pytest.mark.parametrize("case", ["linear", "near"])
def test_the_penalty_form_in_float32_is_lost_beyond_gamma_of_ten_thousand(case: str) -> None:
    """Rounding of about 1e-7 in either KL is multiplied by gamma."""
    for gamma in (1.0, 100.0, 1e4):
        assert single_precision_error(case, gamma) < max(1e-3, 1e-5 * gamma)
    assert single_precision_error(case, 1e6) > 0.5


def test_small_strength_does_not_overflow() -> None:
    lower = torch.tensor([0.0, 5.0, 10.0])
    gradient, share = estimators.pool_gradient(torch.tensor([1.0, 2.0, 3.0]), lower, 0.01)
    assert gradient.item() == 0
    assert share.item() == pytest.approx(1 / 3)
    assert torch.isfinite(estimators.penalty_gradient(lower, lower, 0.01, 10.0))


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
    alone = estimators.moments(upper, lower, None, 1)
    assert alone.covariance.item() == pytest.approx(
        estimators.covariance(upper.double(), lower.double()).item()
    )


def test_a_shared_strength_follows_what_its_classes_do_and_not_how_they_differ() -> None:
    """Against differences of the mean over classes of E[r1], each class tilted by itself."""
    generator = torch.Generator().manual_seed(2)
    group = torch.arange(300) % 3
    lower = torch.randn(300, generator=generator).double() + 2 * group
    upper = torch.randn(300, generator=generator).double() + 0.3 * lower - 4 * group

    def value(beta: float) -> float:
        members = [group == index for index in range(3)]
        weights = [torch.softmax(beta * lower[member], dim=0) for member in members]
        return sum(float(w @ upper[m]) for w, m in zip(weights, members, strict=True)) / 3

    found = estimators.moments(upper, lower, group, 1)
    slope = (value(1e-4) - value(-1e-4)) / 2e-4
    assert found.covariance.item() * (297 / 300) == pytest.approx(slope, rel=1e-6)
    assert found.upper.item() == pytest.approx(upper.mean().item())


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
    for gamma in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="gamma must be positive"):
            estimators.penalty_gradient(one, one, 1.0, gamma)
        with pytest.raises(ValueError, match="gamma must be positive"):
            estimators.published_path_gradient(one, one, gamma)


def quadratic(slope: float, curvature: float) -> Reward:
    return lambda x: slope * x - curvature * x**2 / 2


def gaussian_tilt(mean: float, variance: float, lower: Quadratic, beta: Tensor) -> Gaussian:
    """Mean and variance of N(mean, variance) tilted by beta times a concave quadratic."""
    precision = 1 / variance + beta * lower[1]
    return (mean / variance + beta * lower[0]) / precision, 1 / precision


def gaussian_mean(reward: Quadratic, law: Gaussian) -> Tensor:
    return reward[0] * law[0] - reward[1] * (law[0] ** 2 + law[1]) / 2


def gaussian_divergence(law: Gaussian, mean: float, variance: float) -> Tensor:
    """KL(law ‖ N(mean, variance))."""
    ratio = law[1] / variance
    return (ratio - 1 - ratio.log() + (law[0] - mean) ** 2 / variance) / 2


slopes = st.floats(-3, 3)
curvatures = st.one_of(st.just(0.0), st.floats(0, 3))
quadratics = st.tuples(slopes, curvatures)


@settings(deadline=None, max_examples=60)
@given(
    st.floats(-2, 2),
    st.floats(0.3, 2),
    quadratics,
    quadratics,
    st.floats(0.3, 10),
    st.sampled_from([1.0, 10.0, 100.0]),
)
def test_gradients_are_those_of_any_gaussian_with_quadratic_rewards(
    mean: float, deviation: float, upper: Quadratic, lower: Quadratic, strength: float, gamma: float
) -> None:
    """(3) as the derivative of the closed-form E[r1], (4) from the closed-form divergences."""
    variance = deviation**2
    exact_strength = torch.tensor(strength, dtype=torch.float64, requires_grad=True)
    tilted = gaussian_tilt(mean, variance, lower, 1 / exact_strength)
    (exact,) = torch.autograd.grad(-gaussian_mean(upper, tilted), exact_strength)

    penalised = (lower[0] + upper[0] / gamma, lower[1] + upper[1] / gamma)
    laws = [gaussian_tilt(mean, variance, r, 1 / exact_strength) for r in (penalised, lower)]
    z, y = (gaussian_divergence(law, mean, variance) for law in laws)

    ends = [
        (m.item(), 12 * v.sqrt().item())
        for m, v in [*laws, (torch.tensor(mean), z.new_tensor(variance))]
    ]
    low, high = min(m - w for m, w in ends), max(m + w for m, w in ends)
    x = torch.linspace(low, high, 20001, dtype=torch.float64)
    base = torch.log_softmax(-((x - mean) ** 2) / (2 * variance), dim=0)
    rewards = quadratic(*upper)(x), quadratic(*lower)(x)
    covariance, _ = estimators.pool_gradient(*rewards, strength, base)
    penalty = estimators.penalty_gradient(*rewards, strength, gamma, base)
    assert covariance.item() == pytest.approx(exact.item(), rel=1e-6, abs=1e-7)
    assert penalty.item() == pytest.approx((gamma * (z - y)).item(), rel=1e-6, abs=1e-7)


samples = st.lists(st.floats(-100, 100), min_size=2, max_size=40)


@settings(deadline=None)
@given(samples, st.floats(1e-3, 100))
def test_rewards_that_rise_together_want_a_smaller_strength(
    values: list[float], strength: float
) -> None:
    """Chebyshev: monotone functions of one variable have a covariance of known sign under any
    law, so lambda must rise in the one case and fall in the other, if it changes at all."""
    lower = torch.tensor(values, dtype=torch.float64)
    upper = torch.tanh(lower / 50)
    rising, share = estimators.pool_gradient(upper, lower, strength)
    falling, _ = estimators.pool_gradient(-upper, lower, strength)
    assert torch.isfinite(rising)
    assert rising.item() >= -1e-9 / strength**2
    assert falling.item() == -rising.item()
    assert 1 / len(values) - 1e-12 <= share.item() <= 1 + 1e-12
    for gamma in (0.1, 10.0):
        assert torch.isfinite(estimators.penalty_gradient(upper, lower, strength, gamma))


@settings(deadline=None)
@given(samples, st.sampled_from([torch.float32, torch.float64]))
def test_nothing_overflows_at_the_smallest_strengths(
    values: list[float], dtype: torch.dtype
) -> None:
    """Rewards of 100 at lambda = 1e-3 are exponents of 1e5, twice over where both differ."""
    lower = torch.tensor(values, dtype=dtype)
    for upper in (lower, -lower, lower**2 / 100):
        found = [
            *estimators.pool_gradient(upper, lower, 1e-3),
            estimators.penalty_gradient(upper, lower, 1e-3, 1.0),
            estimators.published_gradient(upper, lower, 1e-3, 1.0),
        ]
        assert all(torch.isfinite(value) and value.dtype == dtype for value in found)


CENTRES = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [-1.0, -1.5]], dtype=torch.float64)
SHARES = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
WIDTH = 0.6
DIRECTION = torch.tensor([1.0, 0.4], dtype=torch.float64)


def plane() -> tuple[Tensor, Tensor]:
    """Points of a grid `(n, 2)` and the log density on them of three Gaussians in the plane."""
    axis = torch.linspace(-7, 9, 321, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    squares = ((x[:, None] - CENTRES) ** 2).sum(dim=-1) / (2 * WIDTH**2)
    return x, torch.log_softmax(torch.logsumexp(SHARES.log() - squares, dim=1), dim=0)


def modes(beta: Tensor) -> tuple[Tensor, Tensor]:
    """Shares and centres of the modes tilted by r2 = x · DIRECTION: each moves, and gains."""
    shares = torch.softmax(
        SHARES.log() + beta * CENTRES @ DIRECTION, dim=0
    )  # all move alike, so the common factor of their masses drops out
    return shares, CENTRES + beta * WIDTH**2 * DIRECTION


def multimodal_upper(x: Tensor) -> Tensor:
    return -((x - torch.tensor([1.5, -0.5], dtype=x.dtype)) ** 2).sum(dim=-1) / 2


@pytest.mark.parametrize("strength", [0.4, 1.0, 3.0, 15.0])
def test_gradient_on_a_mixture_is_that_of_its_tilted_modes(strength: float) -> None:
    x, base = plane()
    upper, lower = multimodal_upper(x), x @ DIRECTION
    exact_strength = torch.tensor(strength, dtype=torch.float64, requires_grad=True)
    shares, centres = modes(1 / exact_strength)
    objective = -(shares @ multimodal_upper(centres)) + WIDTH**2
    (exact,) = torch.autograd.grad(objective, exact_strength)
    found, _ = estimators.pool_gradient(upper, lower, strength, base)
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("strength", [0.4, 1.0, 5.0])
def test_penalty_gradient_on_a_mixture_is_the_derivative_of_its_objective(
    strength: float, gamma: float
) -> None:
    x, base = plane()
    upper, lower = multimodal_upper(x), x @ DIRECTION

    def objective(at: float) -> Tensor:
        y = torch.logsumexp(lower / at + base, dim=0)
        z = torch.logsumexp((lower + upper / gamma) / at + base, dim=0)
        return gamma * at * (y - z)

    step = 1e-4 * strength
    ends = [objective(strength + sign * step) for sign in (1, -1)]
    found = estimators.penalty_gradient(upper, lower, strength, gamma, base)
    assert found.item() == pytest.approx(((ends[0] - ends[1]) / (2 * step)).item(), rel=1e-4)


def upper_variance_by_strength(upper: Tensor, lower: Tensor, base: Tensor, at: float) -> float:
    """Var(r1) / lambda under p_lambda: twice the first error of the penalty form, times gamma."""
    density = torch.softmax(lower / at + base, dim=0)
    return (density @ (upper - density @ upper) ** 2).item() / at


@pytest.mark.parametrize(("case", "sign"), [("linear", 1), ("near", 1), ("modes", -1)])
def test_penalty_root_nears_the_optimum_from_the_side_that_the_variance_tells(
    case: str, sign: int
) -> None:
    """L_gamma = F - Var(r1) / (2 gamma lambda) + ..., so the root is below the optimum by
    -(Var(r1) / lambda)' / (2 gamma F''): above it where a stronger tilt removes modes."""
    if case == "modes":
        x, base = plane()
        upper, lower = multimodal_upper(x), x @ DIRECTION
    else:
        x, base = standard_normal()
        upper, lower = (reward(x) for reward in CASES[case])

    def slope(at: float) -> float:
        return estimators.pool_gradient(upper, lower, at, base)[0].item()

    def penalised_slope(at: float, gamma: float) -> float:
        return estimators.penalty_gradient(upper, lower, at, gamma, base).item()

    optimum, step = brentq(slope, 0.2, 20, xtol=1e-11), 1e-4
    ends = [upper_variance_by_strength(upper, lower, base, optimum + d) for d in (step, -step)]
    curvature = slope(optimum + step) - slope(optimum - step)
    expected = -(ends[0] - ends[1]) / curvature / 2
    assert expected * sign > 0
    for gamma in (100.0, 1000.0):
        root = brentq(penalised_slope, 0.2, 20, args=(gamma,), xtol=1e-11)
        assert gamma * (optimum - root) == pytest.approx(expected, rel=5 / gamma)


def linear_upper(x: Tensor) -> Tensor:
    return parabola(1.5)(x)


def pool_study(ratio: float, n: int, seeds: int = 1000) -> tuple[Tensor, Tensor, float]:
    """Gradients and effective shares `(seeds,)` of r2 = x ~ N(0, 1) at sd(r2) / lambda = `ratio`,
    and the exact gradient: r2 moves the mean to `ratio`."""
    generator = torch.Generator().manual_seed(int(10 * ratio) + n)
    x = torch.randn(seeds, n, generator=generator, dtype=torch.float64)
    gradients, shares = torch.vmap(
        lambda values: estimators.pool_gradient(linear_upper(values), values, 1 / ratio)
    )(x)
    return gradients, shares, (1.5 - ratio) * ratio**2


def pool_deviation(ratio: float) -> float:
    """√n times the standard deviation of the pool estimate for large n, by the delta method:
    the root of E_data[(dp_lambda / dp_data)² · ((r1 - E r1)(r2 - E r2) - Cov)²] / lambda²."""
    x, base = standard_normal()
    tilt = torch.log_softmax(ratio * x + base, dim=0)
    upper, centred = linear_upper(x), x - ratio
    product = (upper - tilt.exp() @ upper) * centred
    product = product - tilt.exp() @ product
    return ratio**2 * math.sqrt((2 * tilt - base).exp() @ product**2)


@pytest.mark.parametrize(("ratio", "bias"), [(0.5, 0.3), (1.0, 6.0)])
@pytest.mark.parametrize("n", [64, 512, 4096])
def test_pool_estimate_is_good_while_the_spread_is_below_the_strength(
    ratio: float, bias: float, n: int
) -> None:
    """The bias falls as 1 / n (0.1 / n and 2.5 / n are found), the spread as 1 / √n, and the
    effective share nears exp(-ratio²): 78 % and 37 %."""
    gradients, shares, exact = pool_study(ratio, n)
    deviation = pool_deviation(ratio) / math.sqrt(n)
    assert abs(gradients.mean().item() - exact) < bias / n + 4 * deviation / math.sqrt(1000)
    # Rare large weights make up much of the variance at ratio 1: small samples miss them.
    assert gradients.std().item() < 1.5 * deviation
    if ratio < 1 or n == 4096:
        assert gradients.std().item() > 0.7 * deviation
    assert (gradients <= 0).double().mean().item() < 0.06
    assert shares.mean().item() > 0.3
    if n == 4096:
        assert shares.mean().item() == pytest.approx(math.exp(-(ratio**2)), rel=0.05)


def test_pool_estimate_cannot_be_trusted_at_twice_the_strength() -> None:
    """64 samples get the sign wrong more often than right; 64 times as many still are biased."""
    gradients, shares, exact = pool_study(2.0, 64)
    assert exact == -2
    assert (gradients > 0).double().mean().item() > 0.5
    assert abs(gradients.mean().item() - exact) > 1.5
    assert shares.mean().item() < 0.2
    many, many_shares, _ = pool_study(2.0, 4096, seeds=500)
    assert many.mean().item() > exact + 0.15
    assert many_shares.mean().item() < 0.06


def test_pool_estimate_collapses_to_zero_beyond() -> None:
    gradients, _, exact = pool_study(8.0, 64)
    assert exact < -400
    assert gradients.abs().median().item() < 5


@pytest.mark.parametrize(("upper", "lower"), [(0.7, 1.0), (-0.4, 2.0), (1.0, -1.5)])
def test_published_path_gradient_does_not_know_how_strong_the_lower_reward_is(
    upper: float, lower: float
) -> None:
    """Linear rewards guide by their slopes over lambda at every step. On N(0, 1) the gradient
    (4) is quadratic in them, as half a squared norm is; the published one is flat."""
    strength, gamma, steps, n = 2.0, 100.0, 50, 7
    x, base = standard_normal()

    def norms(slope: float) -> Tensor:
        return torch.full((steps, n), abs(slope) / strength, dtype=torch.float64)

    found, exact = [], []
    for scale in (1, 2):
        slope = scale * lower
        found.append(
            estimators.published_path_gradient(norms(slope + upper / gamma), norms(slope), gamma)
        )
        exact.append(
            estimators.penalty_gradient(upper * x, slope * x, strength, gamma, base).item()
        )
        squares = norms(slope + upper / gamma) ** 2 - norms(slope) ** 2
        assert (gamma * squares.mean() / 2).item() == pytest.approx(exact[-1], rel=1e-6)
    published = math.copysign(upper, upper * lower) / (2 * strength)
    assert [value.item() for value in found] == pytest.approx([published, published])
    assert exact[1] == pytest.approx(2 * exact[0], rel=0.01)


def test_published_path_gradient_averages_over_steps_and_samples() -> None:
    penalised = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
    found = estimators.published_path_gradient(penalised, torch.ones(3, 2), 10.0)
    assert found.item() == 15
    assert found.dtype == torch.float32
    with pytest.raises(ValueError, match="one shape"):
        estimators.published_path_gradient(penalised, torch.ones(2, 3), 10.0)
    with pytest.raises(ValueError, match="one shape"):
        estimators.published_path_gradient(torch.ones(0, 2), torch.ones(0, 2), 10.0)
