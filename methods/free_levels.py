"""Sampling levels learned in a last phase of training, free of any family."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.base import Method, Problem
from methods.training_run import TrainingRun
from tasks.base import Task


class LearnedLevels(Method):
    """Training at the default plan; for the last `share` of the budget the sampling levels move and
    the network stays."""

    group = "staged"
    phase: ClassVar[type[FreeLevels]]

    def __init__(self, share: float = 0.15) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share}")
        self.share = share

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "schedule"

    def run(self, problem: Problem) -> None:
        self.phase(problem, self.share).run()


class FreeLevels(TrainingRun):
    """One training, and the levels of its last phase: the first, and the logarithms of the gaps,
    so that levels stay in order. They follow Adam at `rate`, which falls to zero."""

    rate: ClassVar[float]

    def __init__(self, problem: Problem, share: float) -> None:
        super().__init__(problem)
        self.share = share
        self.start: Tensor = self.task.sampling_levels(self.task.position(self.plan))
        gaps = self.start.diff().log()
        self.values = torch.cat([self.start[:1], gaps]).requires_grad_()
        self.optimiser = torch.optim.Adam([self.values], betas=(0.8, 0.95))

    @abstractmethod
    def gradient(self, levels: Tensor, generator: torch.Generator) -> None:
        """Accumulate the gradient of what is descended in whatever `levels` `(evaluations,)` was
        computed from."""

    def levels_now(self) -> Tensor:
        """The learned levels `(evaluations,)`; differentiable."""
        first, gaps = self.values[:1], self.values[1:].exp()
        return torch.cat([first, first + gaps.cumsum(0)])

    def work(self, progress: float) -> None:
        trained = progress / (1 - self.share)
        if trained < 1:
            self.task.train_step(self.training, self.levels, trained)
            return
        self.gradient(self.levels_now(), self.task.generator(self.seed("noise")))
        self.optimiser.param_groups[0]["lr"] = self.rate * (1 - progress) / self.share
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.sampled = self.levels_now().detach()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "values": self.values.detach().clone(),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "sampled": self.sampled,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.values.data.copy_(state["values"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.sampled = state["sampled"]
