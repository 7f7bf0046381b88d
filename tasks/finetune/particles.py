"""Guided sampling with particles: as exact as their number, the reference for the cheap sampler.

Twisted sequential Monte Carlo (Wu et al., NeurIPS 2023, arXiv 2306.17775; for rewards, Kim et
al., ICLR 2025, arXiv 2501.05803). Each group of particles takes the guided steps of
`tasks.finetune.sampling` as its proposal. A particle's weight collects what guidance got wrong:

    w_t = tilt(x0(x_t)) / tilt(x0(x_{t+1})) · p(x_t | x_{t+1}) / q(x_t | x_{t+1})

with p the pre-trained and q the guided transition. Where the weights of a group grow uneven it
is resampled. As the number of particles grows, a group's law tends to
p_data · exp(r2 / lambda), p_data being the law of the pre-trained sampler with the same steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.base import FreeMeter, Meter
from tasks.finetune.sampling import Denoiser, LogTilt, Sampler, Samples, Step


@dataclass(frozen=True)
class ParticleSampler(Sampler):
    """A sampler whose rows cycle through `groups` laws: rows i, i + groups, ... of a part are the
    particles of one law.

    They must share what the denoiser and the tilt know of them (class, strength).
    """

    groups: int = 1
    threshold: float = 0.5
    """A group is resampled when its effective sample size falls below this share."""

    @torch.no_grad()
    def sample(
        self,
        denoise: Denoiser,
        noise: Tensor,
        generator: torch.Generator,
        log_tilt: LogTilt | None = None,
        meter: Meter | None = None,
    ) -> Samples:
        """As `Sampler.sample`; rows of a group are equally weighted, and no longer independent.

        `path_kl` is not defined for a resampled path: NaN. Without noise (`eta` = 0) guidance has
        no law to correct, and is that of `Sampler`. Raises ValueError unless the number of rows is
        a multiple of groups times copies.
        """
        if log_tilt is None or self.eta == 0:
            return super().sample(denoise, noise, generator, log_tilt, meter)
        meter = meter or FreeMeter()
        x = noise
        places = self.places(len(x)).to(x.device)
        log_weights = torch.zeros_like(places, dtype=x.dtype)
        for step in self.steps_taken():
            with meter.charge("guided_denoise", len(x), nfe=len(x)):
                at = self.predict(denoise, x, step, log_tilt)
                assert at.tilt is not None
                assert at.gradient is not None
                log_weights = log_weights + at.tilt[places]
                rows, log_weights = self.resample(places, log_weights, generator)
                x, eps, tilt, gradient = x[rows], at.eps[rows], at.tilt[rows], at.gradient[rows]
                plain = step.mean(x, eps)
                if step.variance == 0:  # the last step: nothing is drawn, so nothing proposed
                    x = plain
                    break
                guided = step.mean(x, eps - step.sigma * gradient)
                x = guided + math.sqrt(step.variance) * self.noise(guided, generator)
                log_weights = log_weights + (log_ratio(step, x, plain, guided) - tilt)[places]
        rows, _ = self.resample(places, log_weights, generator, always=True)
        return Samples(x[rows], torch.full((len(x),), torch.nan, device=x.device))

    def places(self, rows: int) -> Tensor:
        """Row numbers `(copies * groups, particles)` of the particles of each law."""
        if rows % (self.groups * self.copies):
            raise ValueError(f"needs a multiple of {self.groups * self.copies} rows, got {rows}")
        parts = torch.arange(rows).view(self.copies, -1, self.groups)
        return parts.transpose(1, 2).flatten(0, 1)

    def resample(
        self,
        places: Tensor,
        log_weights: Tensor,
        generator: torch.Generator,
        always: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Row `(n,)` that each row goes on from, and the log weights that they go on with, in the
        shape of `places` `(laws, particles)`.

        Systematic resampling (Douc & Cappé, 2005) within each law that needs it; copies share
        its random numbers.
        """
        laws, particles = places.shape
        weights = log_weights.softmax(dim=1)
        size = 1 / weights.square().sum(dim=1, keepdim=True)
        uneven = (size < self.threshold * particles) | always
        start = torch.rand(laws // self.copies, 1, generator=generator, device=weights.device)
        order = torch.arange(particles, device=weights.device)
        comb = (start.repeat(self.copies, 1) + order) / particles
        chosen = torch.searchsorted(weights.cumsum(dim=1), comb).clamp_(max=particles - 1)
        rows = torch.empty(places.numel(), dtype=torch.long, device=places.device)
        rows[places] = places.gather(1, torch.where(uneven, chosen, order))
        return rows, torch.where(uneven, 0.0, log_weights)


def log_ratio(step: Step, x: Tensor, plain: Tensor, guided: Tensor) -> Tensor:
    """log p(x) - log q(x) `(n,)` of a step's draws `x`, p with mean `plain`, q with `guided`."""
    return ((x - guided).square() - (x - plain).square()).flatten(1).sum(dim=1) / (
        2 * step.variance
    )
