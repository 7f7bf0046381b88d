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
the noise of eta = 1 corrects part of that, where eta = 0 cannot.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

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


@dataclass(frozen=True)
class Sampler:
    """`steps` denoising steps on "trailing" time steps (T - 1 down to T / steps - 1)."""

    steps: int = 25
    eta: float = 1.0
    clip: float = 5.0
    """Predicted clean samples are kept in [-clip, clip]; latents have unit variance."""
    signal: Tensor = field(default_factory=alpha_bar, repr=False)

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
    ) -> Tensor:
        """Clean samples `(n, d)` from `noise` `(n, d)`; one charge per step to `meter`."""
        meter = meter or FreeMeter()
        operation = "denoise" if log_tilt is None else "guided_denoise"
        shares = [float(self.signal[t]) for t in self.times] + [1.0]
        x = noise
        for time, (share, following) in zip(self.times, pairwise(shares), strict=True):
            with meter.charge(operation, len(x), nfe=len(x)):
                clean, eps = self.predict(denoise, x, time, log_tilt)
                x = self._advance(clean, eps, share, following, generator)
        return x

    def predict(
        self, denoise: Denoiser, x: Tensor, time: int, log_tilt: LogTilt | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predicted clean samples and noise at `x` `(n, d)`, tilted if `log_tilt` is given.

        The tilt costs one backward pass, through reward, decoder and denoiser in turn.
        """
        share = float(self.signal[time])
        root, sigma = math.sqrt(share), math.sqrt(1 - share)
        if log_tilt is None:
            eps = denoise(x, time)
        else:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                eps = denoise(leaf, time)
                tilt = log_tilt((leaf - sigma * eps) / root)
                (gradient,) = torch.autograd.grad(tilt.sum(), leaf)
            eps = eps.detach() - sigma * gradient
        clean = ((x - sigma * eps) / root).clamp_(-self.clip, self.clip)
        return clean, eps

    def _advance(
        self,
        clean: Tensor,
        eps: Tensor,
        share: float,
        following: float,
        generator: torch.Generator,
    ) -> Tensor:
        """The next, less noisy sample, from signal share `share` to `following`."""
        if following == 1.0:
            return clean
        variance = self.eta**2 * (1 - following) / (1 - share) * (1 - share / following)
        x = math.sqrt(following) * clean + math.sqrt(1 - following - variance) * eps
        if variance == 0:
            return x
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x.add_(noise, alpha=math.sqrt(variance))
