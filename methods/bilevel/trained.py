"""Generative bilevel optimisation where the lower level is trained (arXiv 2502.08808).

One training follows the lower level at a strength that moves slowly beside it. Where the weights
have caught up with the strength, the law of the samples is p_lambda, and the paper's penalty
gradient has the limit

    dE[r1] / dlog(lambda) = -Cov(r1, r2) / lambda            (tasks.finetune.estimators, eq. 3)

whose samples are those that the training step learned from: it costs nothing but their r1. As on
guided samples, the step is its direction in natural units, the correlation of the two rewards,
averaged over a few batches. The strength moves slowly enough for the weights to follow (they lag
by some tens of steps), with steps that shrink over the run, and stands still at its average for the
rest of it, while the learning rate falls.

The start is the strength that a reweighted pool of samples of the pre-trained network shows to be
better than the default, beyond its standard error by most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from methods.base import Problem
from methods.bilevel.finetune import better_in_reach
from methods.training_run import SingleRun
from tasks.finetune.estimators import moments
from tasks.finetune.rewards import Rewards
from tasks.finetune.trained import TrainedOracles

AVERAGING = 3
"""Power of the polynomial-decay average of the strength (Shamir & Zhang, 2013, arXiv 1212.1824)."""


@dataclass(frozen=True)
class Options:
    """Settings of the run; rewards may have any scale."""

    pool: int = 500
    """Samples of the pre-trained network to begin with; 0 starts at the default."""
    rate: float = 0.05
    """Largest step in log lambda per training step at first, at full correlation."""
    memory: float = 0.8
    """Share of itself that the average of the rewards' covariance keeps per step."""
    settle: float = 0.6
    """Share of the run after which the strength stands still."""

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"rate must be positive, got {self.rate}")
        if self.pool < 0:
            raise ValueError(f"pool must not be negative, got {self.pool}")
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory must be in [0, 1), got {self.memory}")
        if not 0 < self.settle <= 1:
            raise ValueError(f"settle must be in (0, 1], got {self.settle}")


class TrainedRun(SingleRun):
    """One network in training, and the strength that it is trained at."""

    task: TrainedOracles

    def __init__(self, problem: Problem, options: Options) -> None:
        assert isinstance(problem.oracles, TrainedOracles)
        super().__init__(problem)
        self.options = options
        self.position = self.levels.double().log()
        """Logarithm of the strength, `(1,)` float64."""
        self.average = self.position.clone()
        self.moments = torch.zeros(2, 2, dtype=torch.float64)
        """Moving average of the covariance matrix of r1 and r2, less the weight it lacks."""

    def work(self, progress: float) -> None:
        if not self.iteration and self.options.pool:
            self.begin_from_pool()
        rewards = self.task.train_step(self.training, self.levels, progress)
        if progress < self.options.settle:
            self.follow(rewards, 1 - progress / self.options.settle)

    def begin_from_pool(self) -> None:
        """Start where a pool of samples of the pre-trained network shows a gain."""
        generator = self.task.generator(self.seed("pool"))
        pool = self.task.scored(self.training.net, self.options.pool, generator)
        low, high = self.bounds()
        levels = torch.linspace(low, high, 81, dtype=torch.float64)
        self.position = better_in_reach(pool, levels, self.position[0])[None]
        self.average = self.position.clone()
        self.moved()

    def follow(self, rewards: Rewards, left: float) -> None:
        """A step of the strength up the gradient, `left` of the steps' size remaining."""
        memory = self.options.memory
        self.moments = torch.lerp(covariances(rewards), self.moments, memory)
        spread = self.moments.diagonal().prod().sqrt()
        correlation = (self.moments[0, 1] / spread).nan_to_num(0.0, 0.0, 0.0)
        low, high = self.bounds()
        self.position = (self.position - self.options.rate * left * correlation).clamp(low, high)
        weight = (AVERAGING + 1) / (AVERAGING + 1 + self.iteration)
        self.average = torch.lerp(self.average, self.position, weight)
        self.moved()

    def moved(self) -> None:
        """Train on at the new strength; the average is what is reported."""
        self.levels = self.position.exp()
        self.plan = dict.fromkeys(self.problem.space.names, float(self.average.exp()))

    def bounds(self) -> tuple[float, float]:
        """The ends of the strength's range, as logarithms."""
        (variable,) = self.problem.space.variables
        low, high = torch.tensor([variable.low, variable.high], dtype=torch.float64).log().tolist()
        return low, high

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "position": self.position, "average": self.average, "moments": self.moments
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.position, self.average = state["position"], state["average"]
        self.moments = state["moments"]
        self.moved()


def covariances(rewards: Rewards) -> Tensor:
    """Covariance matrix `(2, 2)` of r1 and r2 within classes, float64."""
    found = moments(rewards.upper, rewards.lower, rewards.group, 1)
    spreads = torch.cat([found.upper_spread, found.lower_spread])
    matrix = torch.diag(spreads**2)
    matrix[0, 1] = matrix[1, 0] = found.covariance[0]
    return matrix
