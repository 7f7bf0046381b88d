"""Importance weights: known tails, closed forms on Gaussians, bounds that always hold."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import genpareto
from torch import Tensor

from tasks.finetune import weights


def standard_normal() -> tuple[Tensor, Tensor]:
    """A fine grid and the normalised log density of N(0, 1) on it: expectations by quadrature."""
    x = torch.linspace(-12, 14, 20001, dtype=torch.float64)
    return x, torch.log_softmax(-(x**2) / 2, dim=0)


def test_divergence_of_a_linear_tilt_is_half_the_squared_shift() -> None:
    x, base = standard_normal()
    assert weights.tilt_divergence(x / 0.5, base).item() == pytest.approx(2.0, rel=1e-9)
    assert weights.log_partition(x / 0.5, base).item() == pytest.approx(2.0, rel=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(-500, 500), min_size=1, max_size=30), st.floats(-300, 300))
def test_weights_are_normalised_and_ignore_a_common_shift(
    scores: list[float], shift: float
) -> None:
    values = torch.tensor(scores, dtype=torch.float64)
    log_weights = weights.log_weights(values)
    assert log_weights.exp().sum().item() == pytest.approx(1)
    torch.testing.assert_close(weights.log_weights(values + shift), log_weights)
    size = weights.effective_sample_size(log_weights).item()
    assert 1 - 1e-9 <= size <= len(scores) * (1 + 1e-9)
    assert weights.tilt_divergence(values).item() >= -1e-9


def tail_indices(draw: Callable[[Tensor], Tensor], n: int, seeds: int = 40) -> Tensor:
    """k-hat `(seeds,)` of log weights `draw(u)` for uniform `u` `(n,)`."""
    generator = torch.Generator().manual_seed(n)
    uniform = torch.rand(seeds, n, generator=generator, dtype=torch.float64)
    return torch.stack([weights.pareto_k(draw(u)) for u in uniform])


@pytest.mark.parametrize("k", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("n", [1000, 10000])
def test_tail_index_of_pareto_weights_is_found(k: float, n: int) -> None:
    """w = U^(-k) has the tail P(w > x) = x^(-1 / k). The maximum-likelihood index of m tail
    samples has a standard deviation of (1 + k) / √m: m = 95 at n = 1000, 300 at 10000."""
    found = tail_indices(lambda u: -k * u.log(), n)
    m = min(n / 5, 3 * math.sqrt(n))
    deviation = (1 + k) / math.sqrt(m)
    shrunk = (m * k + 10 * 0.5) / (m + 10)
    assert found.mean().item() == pytest.approx(shrunk, abs=0.06)
    assert found.mean().item() == pytest.approx(k, abs=0.08)
    assert found.std().item() < 1.4 * deviation
    assert (found - k).abs().max().item() < 5 * deviation


@pytest.mark.parametrize(
    ("draw", "low", "high"),
    [
        (lambda u: u.log(), -1.05, -0.7),  # bounded weights, k = -1
        (lambda u: (-u.log()).log(), -0.1, 0.15),  # exponential, k = 0
        (lambda u: 0.5 * torch.special.ndtri(u), 0, 0.2),  # log-normal
    ],
)
def test_light_tails_have_a_small_index(
    draw: Callable[[Tensor], Tensor], low: float, high: float
) -> None:
    found = tail_indices(draw, 4000)
    assert low < found.mean().item() < high
    assert found.max().item() < 0.5


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.5, 0.0, 0.3), (1.0, 0.1, 0.4), (2, 0.5, 1)])
def test_tail_index_tells_good_tilts_from_bad_ones(ratio: float, low: float, high: float) -> None:
    """Weights exp(ratio · N(0, 1)) of a linear reward: trustworthy below 0.4."""
    for n in (512, 4096):
        assert low < tail_indices(lambda u: ratio * torch.special.ndtri(u), n).mean().item() < high


@pytest.mark.parametrize("k", [-0.3, 0.0, 0.3, 0.7, 1.5])
def test_tail_index_agrees_with_maximum_likelihood(k: float) -> None:
    """scipy's fit to the same excesses over the same threshold, shrunk by the same prior."""
    excess = genpareto.rvs(k, size=4000, random_state=3)
    log_weights = torch.from_numpy(excess + 1).log()
    m = math.ceil(3 * math.sqrt(4000))
    largest = log_weights.exp().sort(descending=True).values[: m + 1].numpy()
    fitted, _, _ = genpareto.fit(largest[:-1] - largest[-1], floc=0)
    expected = (m * fitted + 5) / (m + 10)
    assert weights.pareto_k(log_weights).item() == pytest.approx(expected, abs=0.05)


def reference_pareto_k(log_weights: np.ndarray) -> float:
    """The algorithm of Zhang & Stephens (2009) step by step, its prior as published with it."""
    largest = np.sort(np.exp(log_weights - log_weights.max()))[::-1]
    m = math.ceil(min(len(largest) / 5, 3 * math.sqrt(len(largest))))
    x = np.sort(largest[:m] - largest[m])
    quartile = x[math.floor(m / 4 + 0.5) - 1]
    points = 30 + math.floor(math.sqrt(m))
    theta, likelihood = [], []
    for j in range(1, points + 1):
        value = 1 / x[-1] + (1 - math.sqrt(points / (j - 0.5))) / (3 * quartile)
        k = -np.mean(np.log(1 - value * x))
        theta.append(value)
        likelihood.append(m * (math.log(value / k) + k - 1))
    share = [1 / sum(math.exp(other - one) for other in likelihood) for one in likelihood]
    k = np.mean(np.log(1 - np.dot(theta, share) * x))
    return float((m * k + 10 * 0.5) / (m + 10))


@pytest.mark.parametrize("n", [25, 64, 225, 1000, 5000])
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_tail_index_is_that_of_the_published_algorithm(n: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(n)
    log_weights = spread * torch.randn(n, generator=generator, dtype=torch.float64)
    expected = reference_pareto_k(log_weights.numpy())
    assert weights.pareto_k(log_weights).item() == pytest.approx(expected, abs=1e-8)


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(-1e4, 1e4), st.floats(0.1, 3))
def test_tail_index_ignores_the_scale_of_the_weights(
    seed: int, shift: float, spread: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = spread * torch.randn(400, generator=generator, dtype=torch.float64)
    shifted = weights.pareto_k(values + shift)
    assert shifted.item() == pytest.approx(weights.pareto_k(values).item(), abs=1e-6)
    order = torch.randperm(400, generator=generator)
    assert weights.pareto_k(values[order]) == weights.pareto_k(values)
    single = weights.pareto_k(values.float())
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(weights.pareto_k(values).item(), abs=1e-4)


def test_tail_index_of_weights_without_a_tail() -> None:
    assert weights.pareto_k(torch.zeros(100)).item() == 0
    assert weights.pareto_k(torch.full((1000,), -7.5)).item() == 0
    capped = torch.linspace(-3, 1, 1000).clamp(max=0)  # a quarter share the largest weight
    assert weights.pareto_k(capped).item() == 0


def test_tail_index_without_enough_samples_is_infinite() -> None:
    values = torch.linspace(0, 1, 21)
    assert weights.pareto_k(values[:20]).item() == math.inf
    assert math.isfinite(weights.pareto_k(values).item())
    few = torch.zeros(1000)
    few[:4] = torch.arange(1.0, 5.0)  # the tail beyond ties is four weights
    assert weights.pareto_k(few).item() == math.inf


def test_tail_index_of_weights_that_are_not_numbers_is_never_good() -> None:
    for values in (torch.zeros(100), torch.linspace(0, 1, 100)):
        for count in (1, 10, 100):
            spoilt = values.clone()
            spoilt[:count] = math.nan
            assert not weights.pareto_k(spoilt).item() < 0.7


@pytest.mark.parametrize("spread", [1e2, 1e4, 1e6])
def test_tail_index_of_collapsed_weights_is_large_and_finite(spread: float) -> None:
    """One weight takes all, and most others underflow beside it."""
    values = spread * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert 2 < weights.pareto_k(values).item() < 1e3
    six = torch.cat([torch.zeros(6), -1e3 - torch.rand(994)])
    assert weights.pareto_k(six).item() > 2


def tilted_normals(betas: list[float], counts: list[int], seed: int) -> Tensor:
    """Samples `(n,)` of N(beta, 1), which is N(0, 1) tilted by exp(beta · x)."""
    generator = torch.Generator().manual_seed(seed)
    draws = [
        torch.randn(count, generator=generator, dtype=torch.float64) + beta
        for beta, count in zip(betas, counts, strict=True)
    ]
    return torch.cat(draws)


def partitions(lower: Tensor, base: Tensor, betas: Tensor) -> Tensor:
    return torch.stack([weights.log_partition(beta * lower, base) for beta in betas])


def shares(lower: Tensor, base: Tensor, betas: Tensor, counts: Tensor) -> Tensor:
    """Expected counts `(K,)` of the laws among the samples, which are `counts` at the solution."""
    joint = betas[:, None] * lower - partitions(lower, base, betas)[:, None]
    return torch.softmax(joint + counts.log()[:, None], dim=0).sum(dim=1)


def test_mixture_weights_find_the_normalising_constants_of_gaussians() -> None:
    """log Z(beta) = beta² / 2, at the sampled strengths and between them."""
    betas = [0.0, 1.0, 2.5, 4.0]
    x = tilted_normals(betas, [20000] * 4, seed=0)
    base = weights.mixture_base(x, torch.tensor(betas), torch.tensor([20000] * 4))
    assert base.exp().sum().item() == pytest.approx(1)
    at = torch.tensor([0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(partitions(x, base, at), at**2 / 2, atol=0.05, rtol=0)
    for beta in at.tolist():
        tilted = weights.log_weights(beta * x, base).exp()
        mean = tilted @ x
        assert mean.item() == pytest.approx(beta, abs=0.03)
        assert (tilted @ (x - mean) ** 2).item() == pytest.approx(1, abs=0.04)
        divergence = weights.tilt_divergence(beta * x, base).item()
        assert divergence == pytest.approx(beta**2 / 2, abs=0.1)


def test_mixture_of_two_solves_bennetts_equation() -> None:
    """K = 2 is the acceptance ratio of Bennett (1976): one monotone equation in log Z."""
    x = tilted_normals([0.0, 2.0], [300, 100], seed=1)
    base = weights.mixture_base(x, torch.tensor([0.0, 2.0]), torch.tensor([300, 100]))
    values = x.numpy()
    root = brentq(
        lambda z: expit(2 * values - z + math.log(100 / 300)).sum() - 100, -50, 50, xtol=1e-12
    )
    assert weights.log_partition(2 * x, base).item() == pytest.approx(root, abs=1e-8)


def test_one_law_has_the_weights_of_plain_importance_sampling() -> None:
    x = tilted_normals([0.5], [50], seed=2)
    counts = torch.tensor([50])
    untilted = weights.mixture_base(x, torch.zeros(1), counts)
    torch.testing.assert_close(untilted, torch.full_like(x, -math.log(50)))
    torch.testing.assert_close(weights.log_weights(x, untilted), weights.log_weights(x))
    tilted = weights.mixture_base(x, torch.tensor([0.5]), counts)
    torch.testing.assert_close(tilted, weights.log_weights(-0.5 * x))
    torch.testing.assert_close(weights.log_weights(0.5 * x, tilted), untilted)


def test_mixture_weights_ignore_order_shift_and_splitting_of_a_law() -> None:
    x = tilted_normals([0.0, 1.0, 2.0], [30, 20, 10], seed=3)
    base = weights.mixture_base(x, torch.tensor([0.0, 1.0, 2.0]), torch.tensor([30, 20, 10]))
    permuted = weights.mixture_base(
        x.flip(0), torch.tensor([2.0, 0.0, 1.0]), torch.tensor([10, 30, 20])
    )
    torch.testing.assert_close(permuted.flip(0), base)
    shifted = weights.mixture_base(
        x + 1000, torch.tensor([0.0, 1.0, 2.0]), torch.tensor([30, 20, 10])
    )
    torch.testing.assert_close(shifted, base)
    split = weights.mixture_base(
        x, torch.tensor([0.0, 1.0, 0.0, 2.0]), torch.tensor([12, 20, 18, 10])
    )
    torch.testing.assert_close(split, base)


def test_mixture_weights_in_float32_agree_with_float64() -> None:
    x = tilted_normals([0.0, 2.0], [500, 500], seed=4)
    arguments = torch.tensor([0.0, 2.0]), torch.tensor([500, 500])
    double, single = (
        weights.mixture_base(x, *arguments),
        weights.mixture_base(x.float(), *arguments),
    )
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=0)


LAWS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(-1000, 1000), st.floats(-1, 1)), st.integers(1, 12)
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=200)
@given(LAWS, st.data())
def test_mixture_weights_keep_every_laws_own_samples(
    laws: list[tuple[float, int]], data: st.DataObject
) -> None:
    """Whatever the rewards, even 100 at lambda = 1e-3: the equations are solved, nothing
    overflows, and tilting to a sampled strength leaves its count as the effective size."""
    betas, counts = (
        torch.tensor(column, dtype=torch.float64) for column in zip(*laws, strict=True)
    )
    n = int(counts.sum())
    rewards = data.draw(st.lists(st.floats(-100, 100), min_size=n, max_size=n))
    lower = torch.tensor(rewards, dtype=torch.float64)
    base = weights.mixture_base(lower, betas, counts)
    assert torch.isfinite(base).all()
    torch.testing.assert_close(shares(lower, base, betas, counts), counts, atol=1e-7 * n, rtol=0)
    for beta, count in zip(betas, counts, strict=True):
        size = weights.effective_sample_size(weights.log_weights(beta * lower, base))
        assert count.item() * (1 - 1e-6) <= size.item() <= n * (1 + 1e-9)


def test_mixture_weights_do_not_lose_the_digits_of_a_large_common_reward() -> None:
    laws = torch.tensor([0.0, 2.0]), torch.tensor([300, 100])
    x = (tilted_normals([0.0, 2.0], [300, 100], seed=6) * 1024).round() / 1024
    shifted = weights.mixture_base(x + 2**40, *laws)  # exact in float64, unlike twice of it
    torch.testing.assert_close(shifted, weights.mixture_base(x, *laws), atol=1e-9, rtol=0)


def test_mixture_weights_are_found_where_newtons_method_overshoots() -> None:
    """Rewards that tie where the laws meet, and leave a gap on either side."""
    lower = torch.tensor([0.0] + [1.0] * 2 + [2.0] * 20, dtype=torch.float64)
    betas, counts = torch.tensor([0.0, 100.0]), torch.tensor([2, 21])
    base = weights.mixture_base(lower, betas, counts)
    found = shares(lower, base, betas.double(), counts.double())
    torch.testing.assert_close(found, counts.double(), atol=1e-8, rtol=0)


def test_mixture_weights_allow_for_rounding_of_huge_scores() -> None:
    """Scores of 1e9 are rounded to 1e-7, so no solution can be better than that."""
    lower = 1e6 * torch.tensor([-0.7] * 10 + [1 / 3] * 17 + [1.3] * 9, dtype=torch.float64)
    betas = torch.tensor([0.0, 3700.0, 3700.0 / 3], dtype=torch.float64)
    counts = torch.tensor([23, 8, 5])
    base = weights.mixture_base(lower, betas, counts)
    assert torch.isfinite(base).all()
    found = shares(lower, base, betas, counts.double())
    torch.testing.assert_close(found, counts.double(), atol=1e-3, rtol=0)


def test_laws_that_do_not_overlap_meet_half_way() -> None:
    lower = torch.tensor([0.0, 1.0, 9.0, 10.0], dtype=torch.float64)
    base = weights.mixture_base(lower, torch.tensor([0.0, 100.0]), torch.tensor([2, 2]))
    gap = weights.log_partition(100 * lower, base).item()
    assert gap == pytest.approx(100 * 5, rel=1e-6)  # equally likely at a reward of five


def test_bad_mixtures_are_errors() -> None:
    x, two = torch.arange(4.0), torch.tensor([0.0, 1.0])
    for counts in ([2, 1], [4, 0], [5, -1], [4]):
        with pytest.raises(ValueError, match="do not split 4 samples"):
            weights.mixture_base(x, two, torch.tensor(counts))
    with pytest.raises(ValueError, match="finite"):
        weights.mixture_base(x, torch.tensor([0.0, math.inf]), torch.tensor([2, 2]))
    with pytest.raises(ValueError, match="finite"):
        weights.mixture_base(x / 0, two, torch.tensor([2, 2]))


def test_an_unsolved_mixture_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "ITERATIONS", 1)
    x = tilted_normals([0.0, 2.0], [30, 30], seed=5)
    with pytest.raises(ArithmeticError, match="did not converge"):
        weights.mixture_base(x, torch.tensor([0.0, 2.0]), torch.tensor([30, 30]))
