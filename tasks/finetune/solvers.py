"""Lower-level solvers: what guides the sampler of a fine-tuning task at given strengths.

The task's own is `LookAhead()`. The others exist to compare with it; a method that uses one
says so in what it delivers, so that its result is evaluated with the same solver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tasks.base import Meter
from tasks.finetune.sampling import LogTilt

Reward = Callable[[Tensor], Tensor]
"""Differentiable rewards `(n,)` of the images `(n, ...)` of one batch."""


@dataclass(frozen=True)
class Batch:
    """One batch to be generated."""

    generate: Callable[[LogTilt | None, float], Tensor]
    """Images of the sampler with a tilt and an `eta`, from the same noise at every call."""
    lower: Reward
    upper: Reward
    strength: Tensor
    """lambda of each sample, `(n,)`."""
    meter: Meter


class Solver(Protocol):
    """Turns a batch into images."""

    def images(self, batch: Batch) -> Tensor:
        """Images `(n, ...)` of the tilted model."""
        ...


@dataclass(frozen=True)
class LookAhead:
    """Guidance by r2 / lambda at the predicted clean sample (see `tasks.finetune.sampling`).

    With `upper_weight` w it is the weighted sum (r2 + w · r1) / lambda, which follows the
    gradient of the upper reward itself: another lower level than the one being tuned.
    """

    upper_weight: float = 0.0

    def images(self, batch: Batch) -> Tensor:
        return batch.generate(lambda images: self._reward(batch, images) / batch.strength, 1.0)

    def _reward(self, batch: Batch, images: Tensor) -> Tensor:
        reward = batch.lower(images)
        if self.upper_weight:
            reward = reward + self.upper_weight * batch.upper(images)
        return reward


@dataclass(frozen=True)
class Linearised:
    """The guidance of the paper's released code (after Yuan et al., arXiv 2404.14743).

    In every round each sample's reward is replaced by its linearisation at the image that the
    sample became in the round before, and deterministic sampling (eta = 0) from the same noise
    is guided by the squared error to a target reward,

        log tilt = -(target - linearised r2)² / (2 · batch · lambda).

    Known weak spots, kept because they are what was published: the strength is divided by the
    size of the batch, here the published 12 whatever the number of samples drawn at once; a
    squared error stands where (1) of `tasks.finetune.estimators` has the reward itself, so
    lambda no longer is the strength of an entropy; it diverges where the curvature of the
    error times the data's variance over lambda exceeds one.
    """

    rounds: int = 100
    """Sampling passes; the first one is unguided."""
    target: float = 10.0
    """In the unit of r2. One standard deviation above the pre-trained mean would make the push on a
    typical sample that of r2 / (batch · lambda)."""
    batch: int = 12

    def images(self, batch: Batch) -> Tensor:
        images = batch.generate(None, 0.0)
        for _ in range(1, self.rounds):
            images = batch.generate(self._tilt(batch, images), 0.0)
        return images

    def _tilt(self, batch: Batch, images: Tensor) -> LogTilt:
        with (
            batch.meter.charge("reward", len(images), scored_images=len(images)),
            torch.enable_grad(),
        ):
            leaf = images.detach().requires_grad_()
            reward = batch.lower(leaf)
            (gradient,) = torch.autograd.grad(reward.sum(), leaf)
        bias = reward.detach() - (gradient * images).flatten(1).sum(dim=1)

        def log_tilt(images: Tensor) -> Tensor:
            linear = (gradient * images).flatten(1).sum(dim=1) + bias
            return -((self.target - linear) ** 2) / (2 * self.batch * batch.strength)

        return log_tilt


LOOK_AHEAD = LookAhead()
