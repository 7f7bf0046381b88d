"""Sampling levels learned by matching a teacher with more evaluations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.free_levels import FreeLevels, LearnedLevels
from tasks.schedule.plans import refined

SAMPLES = 64
"""Images per step."""
TEACHER = 4
"""Evaluations of the teacher, in multiples of the student's."""


class Matching(FreeLevels):
    """Images from the learned levels approach the teacher's from the same noise."""

    rate = 0.05

    def gradient(self, levels: Tensor, generator: torch.Generator) -> None:
        task, net = self.task, self.training.ema
        noise = task.noise(SAMPLES, generator)
        target = task.sample(net, refined(self.start, TEACHER * task.evaluations), noise)
        task.pathwise_gradient(net, levels, noise, lambda images: F.mse_loss(images, target))


class LD3(LearnedLevels):
    """Training at the default plan, then learned discretisation of sampling.

    For the last `share` of the budget the sampling levels, free of any family, move so that images
    are close to those that the same network makes from the same noise with four times the
    evaluations. Squared error of pixels stands for the perceptual distance of the source, and the
    levels told to the network are the levels themselves.
    """

    name = "ld3"
    citation = "Tong et al., ICLR 2025, arXiv:2405.15506"
    uses = "gradients through the sampler; no FID"
    phase = Matching
