"""The sampler against diffusers and against exactly known tilted laws."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from tasks.finetune.sampling import Denoiser, Sampler, alpha_bar

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal_denoiser(signal: Tensor) -> Denoiser:
    """The exact noise prediction for N(0, 1) data: x_t stays N(0, 1), so its score is -x."""
    return lambda x, time: (1 - float(signal[time])) ** 0.5 * x


def curved_denoiser(x: Tensor, time: int) -> Tensor:
    return torch.tanh(x.flip(1) + time / 1000) * 0.8


def test_unguided_sampling_is_diffusers_ddim_with_eta_one() -> None:
    scheduler = DDIMScheduler(1000, clip_sample=False, timestep_spacing="trailing", **SCHEDULE)
    scheduler.set_timesteps(25)
    sampler = Sampler(clip=math.inf)
    assert sampler.times == scheduler.timesteps.tolist()
    noise = torch.randn(8, 4, generator=generator())
    ours = sampler.sample(curved_denoiser, noise, generator(1)).clean
    theirs, stream = noise, generator(1)
    for time in scheduler.timesteps:
        theirs = scheduler.step(
            curved_denoiser(theirs, int(time)),
            time,
            theirs,
            eta=1.0,
            variance_noise=torch.randn(theirs.shape, generator=stream),
        ).prev_sample
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_unguided_sampling_is_diffusers_ddpm() -> None:
    scheduler = DDPMScheduler(1000, clip_sample=False, timestep_spacing="trailing", **SCHEDULE)
    scheduler.set_timesteps(25)
    noise = torch.randn(8, 4, generator=generator())
    ours = Sampler(clip=math.inf).sample(curved_denoiser, noise, generator(1)).clean
    theirs, stream = noise, generator(1)
    for time in scheduler.timesteps:
        prediction = curved_denoiser(theirs, int(time))
        theirs = scheduler.step(prediction, time, theirs, generator=stream).prev_sample
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def moments(steps: int, strength: float | None, eta: float = 1.0) -> tuple[float, float]:
    """Mean and variance of N(0, 1) tilted by the linear reward r2 = x."""
    sampler = Sampler(steps=steps, eta=eta, clip=100)
    tilt = None if strength is None else lambda clean: clean[:, 0] / strength
    noise = torch.randn(20_000, 1, generator=generator())
    x = sampler.sample(normal_denoiser(sampler.signal), noise, generator(1), tilt).clean
    return x.mean().item(), x.var().item()


@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0, 3.0, 10.0])
def test_linear_reward_gives_the_exact_tilted_law(strength: float) -> None:
    mean, variance = moments(200, strength)
    assert mean == pytest.approx(1 / strength, rel=0.05, abs=0.03)
    assert variance == pytest.approx(1, abs=0.06)


def test_discretisation_error_falls_with_the_number_of_steps() -> None:
    errors = [1 - moments(steps, 1.0)[1] for steps in (25, 100)]
    assert 0 < errors[1] < errors[0] / 2.5


@pytest.mark.parametrize("time", [39, 479, 999])
def test_guidance_is_the_gradient_of_the_look_ahead_reward(time: int) -> None:
    sampler = Sampler(clip=math.inf)
    x = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    sigma = (1 - sampler.signal[time]).sqrt()

    def tilt(clean: Tensor) -> Tensor:
        return clean.sin().sum(dim=1) / 0.3

    def look_ahead(x: Tensor) -> Tensor:
        return tilt((x - sigma * curved_denoiser(x, time)) / sampler.signal[time].sqrt())

    step = next(step for step in sampler.steps_taken() if step.time == time)
    at = sampler.predict(curved_denoiser, x, step, tilt)
    assert at.gradient is not None
    torch.testing.assert_close(at.eps, sampler.predict(curved_denoiser, x, step).eps)
    for column in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[column] = 1e-6
        slope = (look_ahead(x + shift) - look_ahead(x - shift)) / 2e-6
        torch.testing.assert_close(slope, at.gradient[:, column])


def test_no_tilt_and_a_constant_tilt_agree_and_no_graph_is_left() -> None:
    noise = torch.randn(6, 4, generator=generator())
    plain = Sampler().sample(curved_denoiser, noise, generator(1))
    constant = Sampler().sample(curved_denoiser, noise, generator(1), lambda x: 0 * x.sum(dim=1))
    torch.testing.assert_close(plain, constant)
    assert not constant.clean.requires_grad


def test_zero_eta_draws_no_noise() -> None:
    noise = torch.randn(6, 4, generator=generator())
    stream = generator(1)
    before = stream.get_state()
    Sampler(eta=0).sample(curved_denoiser, noise, stream)
    assert torch.equal(stream.get_state(), before)


def test_signal_share_is_the_schedule_of_stable_diffusion() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(alpha_bar(), (1 - betas).cumprod(0), rtol=1e-4, atol=1e-6)
