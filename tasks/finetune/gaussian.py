"""Fine-tuning tasks whose every answer is known: one Gaussian variable, two parabolas."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import ClassVar

import torch
from torch import Tensor

from tasks.base import Candidate, Metric
from tasks.finetune.base import LOWER_REWARD, REWARD, STRENGTH, FinetuneTask, strengths
from tasks.finetune.rewards import Rewards
from tasks.finetune.solvers import LOOK_AHEAD, LookAhead, Solver
from tasks.space import Params, Space

Law = tuple[float, float]
"""Mean and variance of a normal law."""
LOWER_TARGET = 3.0
UPPER_TARGET = 1.5

KL = Metric("kl", "KL(p_lambda ‖ p_data) in nats")


class FinetuneGaussian(FinetuneTask):
    """Data N(0, 1), r2 = -(x - 3)² / 2 and r1 = -(x - 1.5)² / 2; the optimum is lambda = 0.8.

    The tilted law is N(3 / (1 + lambda), lambda / (1 + lambda)). It is sampled by running the
    reverse diffusion with its exact transition law, so the lower level has no error at all,
    and metrics are evaluated in closed form. Solvers differ here by what they tilt towards
    only, not by how.
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
    upper_targets: ClassVar[tuple[float, ...]] = (UPPER_TARGET,)
    """Where r1 is best: one class of samples for each, drawn in turn."""

    def pool(self, count: int, seed: int) -> Rewards:
        return self._draw("denoise", [(0.0, 1.0)] * len(self.upper_targets), count, seed)

    def guided(self, params: Params, count: int, seed: int, solver: Solver = LOOK_AHEAD) -> Rewards:
        return self._draw("guided_denoise", self._laws(params, solver), count, seed)

    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        laws = self._laws(candidate.params, self.solver_of(candidate))
        rewards = [mean_reward(*law) for law in zip(laws, self.upper_targets, strict=True)]
        return {
            "reward": fmean(rewards),
            "lower_reward": fmean(mean_reward(law, LOWER_TARGET) for law in laws),
            "kl": fmean((var + mean**2 - 1 - math.log(var)) / 2 for mean, var in laws),
        }

    def _laws(self, params: Params, solver: Solver) -> list[Law]:
        """The law of each class."""
        weight = upper_weight(solver)
        return [
            tilted_law(strength, weight, target)
            for strength, target in zip(strengths(params).tolist(), self.upper_targets, strict=True)
        ]

    def _draw(self, operation: str, laws: list[Law], count: int, seed: int) -> Rewards:
        generator = self.generator(seed)
        groups = torch.arange(count, device=self.device) % len(laws)
        parts = []
        for group in torch.split(groups, self.batch):
            mean, variance = torch.tensor(laws, device=self.device)[group].T
            parts.append(self._rewards(self._reverse(operation, mean, variance, generator), group))
        return Rewards.concatenate(parts)

    def _reverse(
        self, operation: str, mean: Tensor, variance: Tensor, generator: torch.Generator
    ) -> Tensor:
        """`(n,)` normal draws with `mean` and `variance` `(n,)`: a reverse diffusion with exact
        transitions.

        At noise level s the sample is x_s = x_0 + s · noise, so x_s given x_{s'} (s < s') is
        Gaussian with a mean between x_{s'} and the data mean, by Bayes' rule.
        """
        count = len(mean)
        levels = [*torch.logspace(1, -2, self.steps).tolist(), 0.0]
        x: Tensor = mean + (variance + levels[0] ** 2).sqrt() * self._noise(count, generator)
        for high, low in pairwise(levels):
            with self.meter.charge(operation, count, nfe=count):
                kept = (variance + low**2) / (variance + high**2)
                spread = (kept * (high**2 - low**2)).sqrt()
                x = mean + kept * (x - mean) + spread * self._noise(count, generator)
        return x

    def _noise(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, generator=generator, device=self.device)

    def _rewards(self, x: Tensor, group: Tensor) -> Rewards:
        with self.meter.charge("reward", len(x), scored_images=len(x)):
            targets = torch.tensor(self.upper_targets, device=self.device)
            return Rewards(
                upper=-((x - targets[group]) ** 2) / 2,
                lower=-((x - LOWER_TARGET) ** 2) / 2,
                group=group if len(targets) > 1 else None,
            )


class FinetuneGaussianPerClass(FinetuneGaussian):
    """Three classes with one entropy strength each, whose r1 are best at 0.5, 1.5 and 2.5.

    The optimum of a class with target t is lambda = 3 / (t + 1/6) - 1: here 3.5, 0.8 and 0.125.
    """

    name = "finetune/gaussian-perclass"
    description = "Entropy strengths of three tilted Gaussians; everything in closed form"
    upper_targets = (0.5, 1.5, 2.5)
    space = Space(tuple(replace(STRENGTH, name=f"lambda_{group}") for group in range(3)))


def tilted_law(strength: float, weight: float = 0.0, target: float = UPPER_TARGET) -> Law:
    """N(0, 1) tilted by r2 + `weight` · r1 at entropy strength `strength`, r1 being best at
    `target`."""
    precision = strength + 1 + weight
    return (LOWER_TARGET + weight * target) / precision, strength / precision


def mean_reward(law: Law, target: float) -> float:
    """E[-(x - target)² / 2]."""
    mean, variance = law
    return -((mean - target) ** 2 + variance) / 2


def upper_weight(solver: Solver) -> float:
    """Weight of r1 in what `solver` follows."""
    return solver.upper_weight if isinstance(solver, LookAhead) else 0.0
