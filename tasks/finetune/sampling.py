"""Ancestral sampling of a diffusion model, tilted towards a reward by look-ahead guidance.

At every step the reward is differentiated through the predicted clean sample and added to
the score (the paper's lower-level solver, arXiv 2502.08808, section 4; the look-ahead form
is that of diffusion posterior sampling, arXiv 2209.14687):

    x0(x_t)  = (x_t - sqrt(1 - a_t) eps(x_t, t)) / sqrt(a_t)
    eps'     = eps - sqrt(1 - a_t) · d/dx_t log_tilt(x0(x_t))
    x_{t-1}  = sqrt(a_{t-1}) x0' + sqrt(1 - a_{t-1} - s²) eps' + s z          (DDIM, 2010.02502)

with a_t the cumulative signal share and s = eta · sqrt((1 - a_{t-1}) / (1 - a_t) ·
(1 - a_t / a_{t-1})); eta = 1 is ancestral (DDPM) sampling. For a linear reward on Gaussian
data the guidance is exact up to time discretisation. For curved ones it is too strong, and
the noise of eta = 1 corrects part of that, where eta = 0 cannot; `tasks.finetune.particles`
corrects all of it, at a price.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.base import FreeMeter, Meter

Denoiser = Callable[[Tensor, int], Tensor]
"""The noise predicted in `x_t` `(n, d)` at a training time step."""
LogTilt = Callable[[Tensor], Tensor]
"""Log density ratio `(n,)` of the tilted to the pre-trained law at clean samples `(n, ...)`."""

TRAIN_STEPS = 1000


def alpha_bar() -> Tensor:
    """Cumulative signal shares `(1000,)`, float64: the schedule of Stable Diffusion."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(
        TRAIN_STEPS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    signal: Tensor = scheduler.alphas_cumprod.double()
    return signal


class Samples(NamedTuple):
    """The output of a sampler."""

    clean: Tensor
    """Clean samples `(n, ...)`."""
    path_kl: Tensor
    """KL divergence `(n,)` in nats of the guided from the pre-trained sampling path, along each
    sample's own path. Its mean bounds KL(p_lambda ‖ p_data) from above (Girsanov; the chain
    rule of KL). The last step, which adds no noise, is left out; infinite if no step adds any."""


class Prediction(NamedTuple):
    """Quantities of one denoising step at `x_t`."""

    eps: Tensor
    """Noise predicted by the pre-trained model, `(n, ...)`."""
    tilt: Tensor | None = None
    """Log tilt `(n,)` of the predicted clean sample."""
    gradient: Tensor | None = None
    """Gradient of `tilt` in `x_t`, `(n, ...)`."""


@dataclass(frozen=True)
class Sampler:
    """`steps` denoising steps on "trailing" time steps (T - 1 down to T / steps - 1)."""

    steps: int = 25
    eta: float = 1.0
    clip: float = 5.0
    """Predicted clean samples are kept in [-clip, clip]; latents have unit variance."""
    copies: int = 1
    """Rows come in so many equal parts, one after the other, that share their noise."""
    signal: Tensor = field(default_factory=alpha_bar, repr=False)

    def noise(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal noise of the shape of `rows` `(n, ...)`."""
        shape = (len(rows) // self.copies, *rows.shape[1:])
        noise = torch.randn(shape, generator=generator, device=rows.device, dtype=rows.dtype)
        return noise if self.copies == 1 else torch.cat([noise] * self.copies)

    @property
    def times(self) -> list[int]:
        """The `steps` training time steps visited, from noise to data."""
        return [round(TRAIN_STEPS * i / self.steps) - 1 for i in range(self.steps, 0, -1)]

    @torch.no_grad()
    def sample(
        self,
        denoise: Denoiser,
        noise: Tensor,
        generator: torch.Generator,
        log_tilt: LogTilt | None = None,
        meter: Meter | None = None,
    ) -> Samples:
        """Clean samples from `noise` `(n, ...)`; one charge per step to `meter`."""
        meter = meter or FreeMeter()
        operation = "denoise" if log_tilt is None else "guided_denoise"
        x = noise
        path_kl = torch.zeros(len(x), device=x.device)
        for step in self.steps_taken():
            with meter.charge(operation, len(x), nfe=len(x)):
                at = self.predict(denoise, x, step, log_tilt)
                mean = plain = step.mean(x, at.eps)
                if at.gradient is not None:
                    mean = step.mean(x, at.eps - step.sigma * at.gradient)
                    path_kl += step.divergence(mean, plain)
                x = mean
                if step.variance:
                    x = mean.add_(self.noise(mean, generator), alpha=math.sqrt(step.variance))
        return Samples(x, path_kl)

    def steps_taken(self) -> list[Step]:
        """The transitions, from noise to data."""
        signal = self.signal.tolist()
        shares = [*(signal[time] for time in self.times), 1.0]
        return [
            Step(time, share, following, self.eta, self.clip)
            for time, (share, following) in zip(self.times, pairwise(shares), strict=True)
        ]

    def predict(
        self, denoise: Denoiser, x: Tensor, step: Step, log_tilt: LogTilt | None = None
    ) -> Prediction:
        """Predicted noise at `x` `(n, ...)`, with the look-ahead tilt if `log_tilt` is given.

        The tilt costs one backward pass, through reward, decoder and denoiser in turn.
        """
        if log_tilt is None:
            return Prediction(denoise(x, step.time))
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            eps = denoise(leaf, step.time)
            tilt = log_tilt((leaf - step.sigma * eps) / step.root)
            (gradient,) = torch.autograd.grad(tilt.sum(), leaf)
        return Prediction(eps.detach(), tilt.detach(), gradient)


@dataclass(frozen=True)
class Step:
    """One transition, from signal share `share` at training time `time` to `following`."""

    time: int
    share: float
    following: float
    eta: float
    clip: float

    @property
    def root(self) -> float:
        return math.sqrt(self.share)

    @property
    def sigma(self) -> float:
        return math.sqrt(1 - self.share)

    @property
    def variance(self) -> float:
        """Variance of the noise that the step adds; 0 at the last one."""
        if self.following == 1.0:
            return 0.0
        return (
            self.eta**2
            * (1 - self.following)
            / (1 - self.share)
            * (1 - self.share / self.following)
        )

    def mean(self, x: Tensor, eps: Tensor) -> Tensor:
        """Mean of the next sample given noise `eps` in `x`."""
        clean = ((x - self.sigma * eps) / self.root).clamp_(-self.clip, self.clip)
        if self.following == 1.0:
            return clean
        towards_noise = math.sqrt(1 - self.following - self.variance)
        return clean.mul_(math.sqrt(self.following)).add_(eps, alpha=towards_noise)

    def divergence(self, mean: Tensor, other: Tensor) -> Tensor:
        """KL `(n,)` between this transition with one mean and with another."""
        squared = (mean - other).flatten(1).square().sum(dim=1)
        if self.following == 1.0:
            return torch.zeros_like(squared)
        if self.variance == 0:
            return torch.where(squared > 0, math.inf, 0.0)
        return squared / (2 * self.variance)
