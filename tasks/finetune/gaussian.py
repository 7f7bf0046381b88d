"""A fine-tuning task whose every answer is known: one Gaussian variable, two parabolas."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from tasks.base import Candidate, Metric
from tasks.finetune.base import LOWER_REWARD, REWARD, FinetuneTask, strengths
from tasks.finetune.rewards import Rewards
from tasks.space import Params

LOWER_TARGET = 3.0
UPPER_TARGET = 1.5

KL = Metric("kl", "KL(p_lambda ‖ p_data) in nats")


class FinetuneGaussian(FinetuneTask):
    """Data N(0, 1), r2 = -(x - 3)² / 2 and r1 = -(x - 1.5)² / 2; the optimum is lambda = 0.8.

    The tilted law is N(3 / (1 + lambda), lambda / (1 + lambda)). It is sampled by running the
    reverse diffusion with its exact transition law, so the lower level has no error at all,
    and metrics are evaluated in closed form.
    """

    name = "finetune/gaussian"
    description = "Entropy strength of a tilted Gaussian; everything in closed form"
    citation = "Xiao et al., ICML 2025, arXiv 2502.08808, application 1"
    metrics = (REWARD, LOWER_REWARD, KL)
    samples = 5000
    steps = 25
    batch = 500
    """Samples per primitive step: small, so that its cost is that of a step of any size."""
    budget = 2 / 3600

    def pool(self, count: int, seed: int) -> Rewards:
        return self._draw("denoise", (0.0, 1.0), count, seed)

    def guided(self, params: Params, count: int, seed: int) -> Rewards:
        law = tilted_law(float(strengths(params)))
        return self._draw("guided_denoise", law, count, seed)

    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        mean, variance = tilted_law(float(strengths(candidate.params)))
        return {
            "reward": -((mean - UPPER_TARGET) ** 2 + variance) / 2,
            "lower_reward": -((mean - LOWER_TARGET) ** 2 + variance) / 2,
            "kl": (variance + mean**2 - 1 - math.log(variance)) / 2,
        }

    def _draw(self, operation: str, law: tuple[float, float], count: int, seed: int) -> Rewards:
        generator = self.generator(seed)
        parts = []
        for start in range(0, count, self.batch):
            size = min(self.batch, count - start)
            parts.append(self._rewards(self._reverse(operation, law, size, generator)))
        return Rewards.concatenate(parts)

    def _reverse(
        self, operation: str, law: tuple[float, float], count: int, generator: torch.Generator
    ) -> Tensor:
        """`(count,)` draws of a normal `law` (mean, variance): a reverse diffusion with exact
        transitions.

        At noise level s the sample is x_s = x_0 + s · noise, so x_s given x_{s'} (s < s') is
        Gaussian with a mean between x_{s'} and the data mean, by Bayes' rule.
        """
        mean, variance = law
        levels = [*torch.logspace(1, -2, self.steps).tolist(), 0.0]
        x = mean + math.sqrt(variance + levels[0] ** 2) * self._noise(count, generator)
        for high, low in pairwise(levels):
            with self.meter.charge(operation, count, nfe=count):
                kept = (variance + low**2) / (variance + high**2)
                spread = math.sqrt(kept * (high**2 - low**2))
                x = mean + kept * (x - mean) + spread * self._noise(count, generator)
        return x

    def _noise(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, generator=generator, device=self.device)

    def _rewards(self, x: Tensor) -> Rewards:
        with self.meter.charge("reward", len(x), scored_images=len(x)):
            return Rewards(
                upper=-((x - UPPER_TARGET) ** 2) / 2, lower=-((x - LOWER_TARGET) ** 2) / 2
            )


def tilted_law(strength: float) -> tuple[float, float]:
    """Mean and variance of the tilted law at entropy strength `strength`."""
    return LOWER_TARGET / (1 + strength), strength / (1 + strength)
