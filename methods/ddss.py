"""Sampling levels learned by differentiating sample quality through the sampler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from methods.base import Problem
from methods.free_levels import FreeLevels, LearnedLevels
from tasks.metrics.frechet import Moments

SAMPLES = 128
"""Images per step."""
MEMORY = 0.8
"""Share that each batch leaves of the moving moments of the features."""


class Descending(FreeLevels):
    """The learned levels descend the distance of images to data."""

    rate = 0.03

    def __init__(self, problem: Problem, share: float) -> None:
        super().__init__(problem, share)
        self.moments = Moments(MEMORY)

    def gradient(self, levels: Tensor, generator: torch.Generator) -> None:
        noise = self.task.noise(SAMPLES, generator)
        self.task.frechet_gradient(self.training.ema, levels, noise, moments=self.moments)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"moments": (self.moments.first, self.moments.second)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.moments = Moments(MEMORY, *state["moments"])


class DDSS(LearnedLevels):
    """Training at the default plan, then differentiable search of the sampler.

    For the last `share` of the budget the sampling levels, free of any family, descend the Fréchet
    distance in the features that methods see, through all steps of the sampler. Its moments move
    from batch to batch, because a distance of 128 images is biased; the source descends the kernel
    distance, and learns the coefficients of the sampler as well as its levels.
    """

    name = "ddss"
    citation = "Watson et al., ICLR 2022, arXiv:2202.05830"
    uses = "gradients of FID through the sampler"
    phase = Descending
