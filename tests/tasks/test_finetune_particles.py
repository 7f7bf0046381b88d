"""Particles against exactly known tilted laws, over the whole range of entropy strengths."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from statistics import fmean

import pytest
import torch
from torch import Tensor

from tasks.finetune.digits import FinetuneDigits, FinetuneDigitsParticles
from tasks.finetune.particles import ParticleSampler, log_ratio
from tasks.finetune.sampling import Denoiser, Sampler

STEPS = 25
CENTRES = torch.tensor([[-1.0, 0.0], [1.0, 0.5]])
SPREAD = 0.5
"""Two equal Gaussians of this spread: the data of the mixture tests."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture_denoiser(signal: Tensor) -> Denoiser:
    """The exact noise prediction for the mixture: the posterior mean of the noise."""

    def denoise(x: Tensor, time: int) -> Tensor:
        share = float(signal[time])
        variance = share * SPREAD**2 + 1 - share
        away = x[:, None, :] - math.sqrt(share) * CENTRES
        belongs = torch.softmax(-away.square().sum(dim=2) / (2 * variance), dim=1)
        score = -(belongs[:, :, None] * away).sum(dim=1) / variance
        return -math.sqrt(1 - share) * score

    return denoise


def reward(x: Tensor) -> Tensor:
    """Curved, and best between the modes and off them."""
    return -(x - x.new_tensor([0.5, 1.5])).square().sum(dim=1)


@pytest.fixture(scope="module")
def pool() -> Tensor:
    """Samples of the untilted sampler, enough to be reweighted to any strength here."""
    sampler = Sampler(steps=STEPS, clip=100)
    noise = torch.randn(200_000, 2, generator=generator())
    return sampler.sample(mixture_denoiser(sampler.signal), noise, generator(1)).clean


def tilted(pool: Tensor, strength: float) -> tuple[float, Tensor]:
    """E[r2] and the mean of the untilted sampler's own law tilted by `reward`."""
    weights = torch.softmax(reward(pool) / strength, dim=0)
    assert 1 / weights.square().sum() > 2000
    return float(weights @ reward(pool)), weights @ pool


def drawn(sampler: Sampler, strength: float, count: int = 4096) -> Tensor:
    noise = torch.randn(count, 2, generator=generator())
    denoise = mixture_denoiser(sampler.signal)
    return sampler.sample(denoise, noise, generator(1), lambda x: reward(x) / strength).clean


@pytest.mark.parametrize("strength", [0.1, 0.3, 1.0, 3.0, 30.0])
def test_particles_follow_the_tilted_law_of_a_mixture(pool: Tensor, strength: float) -> None:
    value, mean = tilted(pool, strength)
    x = drawn(ParticleSampler(steps=STEPS, clip=100, groups=64), strength, 16_384)
    assert reward(x).mean().item() == pytest.approx(value, abs=0.06)
    torch.testing.assert_close(x.mean(dim=0), mean, atol=0.13, rtol=0)


@pytest.mark.parametrize("strength", [0.1, 0.3, 1.0, 3.0])
def test_sixteen_particles_take_a_third_or_more_off_the_error_of_guidance(
    pool: Tensor, strength: float
) -> None:
    value, _ = tilted(pool, strength)
    cheap = reward(drawn(Sampler(steps=STEPS, clip=100), strength)).mean().item()
    sampler = ParticleSampler(steps=STEPS, clip=100, groups=256)
    dear = reward(drawn(sampler, strength)).mean().item()
    assert cheap > value  # look-ahead guidance is too strong for a curved reward
    assert abs(dear - value) < 0.7 * abs(cheap - value)


def test_untilted_samples_tilt_to_the_exact_law(pool: Tensor) -> None:
    axis = torch.linspace(-5, 5, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    away = (grid[:, None, :] - CENTRES.double()).square().sum(dim=2) / (2 * SPREAD**2)
    weights = torch.softmax(torch.logsumexp(-away, dim=1) + reward(grid) / 3, dim=0)
    assert tilted(pool, 3.0)[0] == pytest.approx(float(weights @ reward(grid)), abs=0.05)


def test_resampling_keeps_means_and_evens_weights() -> None:
    sampler = ParticleSampler(groups=3)
    places = sampler.places(3000)
    log_weights = torch.randn(3, 1000, generator=generator())
    values = torch.randn(3000, generator=generator(1))
    rows, after = sampler.resample(places, log_weights, generator(2), always=True)
    assert torch.equal(after, torch.zeros(3, 1000))
    assert torch.equal(rows % 3, torch.arange(3000) % 3)
    before = (log_weights.softmax(dim=1) * values[places]).sum(dim=1)
    torch.testing.assert_close(values[rows][places].mean(dim=1), before, atol=0.05, rtol=0)


def test_only_uneven_groups_are_resampled() -> None:
    sampler = ParticleSampler(groups=2)
    log_weights = torch.tensor([[0.0, 0.1, 0.0, 0.1], [0.0, -20.0, -20.0, -20.0]])
    rows, after = sampler.resample(sampler.places(8), log_weights, generator())
    assert rows.tolist() == [0, 1, 2, 1, 4, 1, 6, 1]
    torch.testing.assert_close(after, torch.stack([log_weights[0], torch.zeros(4)]))


def test_copies_are_resampled_alike() -> None:
    sampler = ParticleSampler(groups=2, copies=2)
    assert sampler.places(8).tolist() == [[0, 2], [1, 3], [4, 6], [5, 7]]
    log_weights = torch.randn(2, 2, generator=generator()).repeat(2, 1) * 10
    rows, _ = sampler.resample(sampler.places(8), log_weights, generator(1), always=True)
    assert torch.equal(rows[:4] + 4, rows[4:])


def test_ratio_of_two_normals() -> None:
    step = Sampler(steps=10).steps_taken()[3]
    x, p, q = torch.randn(3, 5, 2, generator=generator())
    scale = math.sqrt(step.variance)
    by_hand = [torch.distributions.Normal(mean, scale).log_prob(x).sum(dim=1) for mean in (p, q)]
    torch.testing.assert_close(
        log_ratio(step, x, p, q), by_hand[0] - by_hand[1], rtol=1e-3, atol=1e-3
    )


def test_rows_that_do_not_fill_groups_are_an_error() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        ParticleSampler(groups=16).places(30)


def test_without_noise_particles_are_guided_samples() -> None:
    sampler, plain = ParticleSampler(eta=0.0, groups=2), Sampler(eta=0.0)
    noise = torch.randn(6, 2, generator=generator())
    denoise = mixture_denoiser(sampler.signal)
    one, other = (s.sample(denoise, noise, generator(), reward).clean for s in (sampler, plain))
    assert torch.equal(one, other)


# -- the divergence of the sampling path ----------------------------------------------------


def test_path_kl_of_a_linear_reward_is_the_exact_divergence() -> None:
    """For N(0, 1) and r2 = x the tilt is a shift by 1 / lambda, with KL = 1 / (2 lambda²)."""
    sampler = Sampler(steps=500, clip=100)
    noise = torch.randn(2000, 1, generator=generator())

    def denoise(x: Tensor, time: int) -> Tensor:
        return (1 - float(sampler.signal[time])) ** 0.5 * x

    for strength in (0.5, 1.0, 4.0):
        samples = sampler.sample(denoise, noise, generator(1), lambda x, s=strength: x[:, 0] / s)
        assert samples.path_kl.mean().item() == pytest.approx(1 / (2 * strength**2), rel=0.05)


def test_path_kl_is_nothing_unguided_and_infinite_without_noise() -> None:
    noise = torch.randn(4, 2, generator=generator())

    def tilt(x: Tensor) -> Tensor:
        return x.sum(dim=1)

    def denoise(x: Tensor, time: int) -> Tensor:
        return x / 2

    assert torch.equal(Sampler().sample(denoise, noise, generator()).path_kl, torch.zeros(4))
    guided = Sampler(eta=0).sample(denoise, noise, generator(), tilt)
    assert torch.isinf(guided.path_kl).all()


def test_path_kl_bounds_the_divergence_of_a_mixture() -> None:
    strength = 1.0
    sampler = Sampler(steps=100, clip=100)
    noise = torch.randn(4096, 2, generator=generator())
    denoise = mixture_denoiser(sampler.signal)
    samples = sampler.sample(denoise, noise, generator(1), lambda x: reward(x) / strength)
    axis = torch.linspace(-5, 5, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    away = (grid[:, None, :] - CENTRES.double()).square().sum(dim=2) / (2 * SPREAD**2)
    base = torch.log_softmax(torch.logsumexp(-away, dim=1), dim=0)
    tilted = torch.log_softmax(base + reward(grid) / strength, dim=0)
    divergence = float(tilted.exp() @ (tilted - base))
    assert samples.path_kl.mean().item() > 0.9 * divergence


# -- the task -------------------------------------------------------------------------------


def test_the_particle_task_draws_from_the_tilted_law() -> None:
    """Against a pool, each class reweighted by itself; guided samples are several times further."""
    task, cheap = FinetuneDigitsParticles(), FinetuneDigits()
    task.setup()
    cheap.setup()
    strength = 2.0
    pool = task.pool(20_000, 0)
    truth = fmean(
        float(torch.softmax(pool.lower[member] / strength, dim=0) @ pool.lower[member])
        for member in pool.members()
    )
    found, guided = (
        each.guided({"lambda": strength}, 2560, 1).lower.mean().item() for each in (task, cheap)
    )
    assert abs(found - truth) < 0.06
    assert abs(guided - truth) > 0.15


class Evaluations:
    """Counts evaluations of the network."""

    count = 0

    def charge(self, operation: str, count: int = 1, **work: int) -> AbstractContextManager[None]:
        self.count += work.get("nfe", 0)
        return nullcontext()


def test_a_lot_is_paid_whole_and_cut_to_what_was_asked() -> None:
    task = FinetuneDigitsParticles()
    task.setup()
    meter = task.meter = Evaluations()
    few = task.guided({"lambda": 1.0}, 25, 1)
    assert len(few) == 25
    assert meter.count == 640 * Sampler().steps
    whole = task.guided({"lambda": 1.0}, 640, 1)
    assert torch.equal(whole.upper[:25], few.upper)
    pair = task.guided_each([{"lambda": 1.0}, {"lambda": 1.1}], 30, 1)
    assert [len(rewards) for rewards in pair] == [30, 30]
