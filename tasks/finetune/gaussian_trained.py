"""A fine-tuning that is trained and whose answer is known: affine steering of a Gaussian."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.base import Candidate
from tasks.finetune.base import LOWER_REWARD, REWARD
from tasks.finetune.gaussian import KL, LOWER_TARGET, UPPER_TARGET, Law, mean_reward
from tasks.finetune.rewards import Rewards
from tasks.finetune.trained import Path, TrainedTask

LEVELS = (*torch.logspace(math.log10(20), math.log10(0.2), 8, dtype=torch.float64).tolist(), 0.0)
"""Noise levels of the reverse diffusion. At the first one a sample keeps 1 / 400 of its variance
from the data, which bounds how far the trained law stays from p_lambda."""


class Steering(nn.Module):
    """An affine change of every transition, in units of its noise: a mean and a scale.

    Row i of `table` `(steps, 3)` holds shift, slope and log scale of step i; zeros change nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(len(LEVELS) - 1, 3, dtype=torch.float64))


class Transitions:
    """The reverse steps of data N(0, 1), steered; every tensor `(steps,)`.

    x' = kept · x + spread · (shift + slope · x + sqrt(variance) · noise)
    """

    def __init__(self, table: Tensor, mix: float) -> None:
        levels = torch.tensor(LEVELS, dtype=table.dtype, device=table.device)
        high, low = 1 + levels[:-1] ** 2, 1 + levels[1:] ** 2
        self.kept = low / high
        self.spread = (self.kept * (high - low)).sqrt()
        precision = (-2 * table[:, 2]).exp() * mix
        self.variance = 1 / (1 - mix + precision)
        self.shift = precision * self.variance * table[:, 0]
        self.slope = precision * self.variance * table[:, 1] / high.sqrt()

    def divergence(self, squares: Sequence[Tensor]) -> Tensor:
        """KL of the path from the pre-trained one, given for every step the square of what it adds
        to the mean, `(n,)` or 0-d."""
        own = (self.variance - 1 - self.variance.log()).sum()
        return (torch.stack(list(squares)).sum(dim=0) + own) / 2

    def each(self) -> Iterator[tuple[Tensor, ...]]:
        """kept, spread, shift, slope and variance of one step after another."""
        parts = (self.kept, self.spread, self.shift, self.slope, self.variance)
        return zip(*(part.unbind() for part in parts), strict=True)


class FinetuneGaussianTrained(TrainedTask):
    """Data N(0, 1), r2 = -(x - 3)² / 2 and r1 = -(x - 1.5)² / 2, as in `finetune/gaussian`.

    Affine transitions are optimal for a quadratic reward, so the trained law tends to
    N(3 / (1 + lambda), lambda / (1 + lambda)), but for what the start of the path remembers of the
    data, and the best strength is 0.8. Metrics are exact functions of the weights.
    """

    name = "finetune/gaussian-trained"
    description = "Entropy strength of a fine-tuning by training, on a Gaussian (closed form)"
    citation = "Xiao et al., ICML 2025, arXiv 2502.08808, application 1"
    metrics = (REWARD, LOWER_REWARD, KL)
    trial_steps = 60
    step_size = 0.1
    batch_size = 128
    steps = len(LEVELS) - 1
    samples = 2000
    budget = 2 / 3600

    def build(self) -> Steering:
        return Steering().to(self.device)

    def follow(
        self, net: nn.Module, count: int, generator: torch.Generator, mix: float = 1.0
    ) -> Path:
        assert isinstance(net, Steering)
        steps = Transitions(net.table, mix)
        noise = torch.randn(
            len(LEVELS), count, generator=generator, device=self.device, dtype=torch.float64
        )
        x = math.sqrt(1 + LEVELS[0] ** 2) * noise[0]
        pushes = []
        for (kept, spread, shift, slope, variance), drawn in zip(
            steps.each(), noise[1:], strict=True
        ):
            pushes.append(torch.addcmul(shift, slope, x))
            x = kept * x + spread * (pushes[-1] + variance.sqrt() * drawn)
        upper, lower = (-((x - target) ** 2) / 2 for target in (UPPER_TARGET, LOWER_TARGET))
        return Path(Rewards(upper, lower), steps.divergence([push**2 for push in pushes]))

    def law(self, net: nn.Module, mix: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and variance of the samples, and the divergence of their paths, each 0-d and exact;
        differentiable in the weights of `net`."""
        assert isinstance(net, Steering)
        steps = Transitions(net.table, mix)
        mean = torch.zeros((), dtype=torch.float64, device=self.device)
        spread_now = mean + 1 + LEVELS[0] ** 2
        squares = []
        for kept, spread, shift, slope, variance in steps.each():
            push = shift + slope * mean
            squares.append(push**2 + slope**2 * spread_now)
            mean = kept * mean + spread * push
            spread_now = (kept + spread * slope) ** 2 * spread_now + spread**2 * variance
        return mean, spread_now, steps.divergence(squares)

    @torch.no_grad()
    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        exact = self.law(self.network(candidate), candidate.state["mix"])
        mean, variance, divergence = (float(value) for value in exact)
        law: Law = (mean, variance)
        return {
            "reward": mean_reward(law, UPPER_TARGET),
            "lower_reward": mean_reward(law, LOWER_TARGET),
            "kl": divergence,
        }

    def images(self, candidate: Candidate, count: int, seed: int) -> np.ndarray | None:
        return None

    def evaluator(self) -> dict[str, Any]:
        return {"metrics": "exact"}
