"""Sampling levels learned by matching a teacher with more evaluations."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import Method, Problem
from methods.training_run import TrainingRun
from tasks.base import Task
from tasks.schedule.plans import refined

SAMPLES = 64
"""Images per step."""
TEACHER = 4
"""Evaluations of the teacher, in multiples of the student's."""
RATE = 0.05
"""Adam's first learning rate in the logarithms of the gaps between levels; it falls to zero."""


class LD3(Method):
    """Training at the default plan, then learned discretisation of sampling.

    For the last `share` of the budget the sampling levels, free of any family, move so that images
    are close to those that the same network makes from the same noise with four times the
    evaluations. Squared error of pixels stands for the perceptual distance of the source, and the
    levels told to the network are the levels themselves.
    """

    name = "ld3"
    citation = "Tong et al., ICLR 2025, arXiv:2405.15506"
    uses = "gradients through the sampler; no FID"
    group = "staged"

    def __init__(self, share: float = 0.15) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share}")
        self.share = share

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "schedule"

    def run(self, problem: Problem) -> None:
        Run(problem, self.share).run()


class Run(TrainingRun):
    """One training, and the levels of its last phase: the first, and the logarithms of the gaps."""

    def __init__(self, problem: Problem, share: float) -> None:
        super().__init__(problem)
        self.share = share
        self.start: Tensor = self.task.sampling_levels(self.task.position(self.plan))
        gaps = self.start.diff().log()
        self.values = torch.cat([self.start[:1], gaps]).requires_grad_()
        self.optimiser = torch.optim.Adam([self.values], betas=(0.8, 0.95))

    def student(self) -> Tensor:
        """The learned levels `(evaluations,)`; differentiable."""
        first, gaps = self.values[:1], self.values[1:].exp()
        return torch.cat([first, first + gaps.cumsum(0)])

    def work(self, progress: float) -> None:
        trained = progress / (1 - self.share)
        if trained < 1:
            self.task.train_step(self.training, self.levels, trained)
            return
        task = self.task
        noise = task.noise(SAMPLES, task.generator(self.seed("noise")))
        teacher = refined(self.start, TEACHER * task.evaluations)
        target = task.sample(self.training.ema, teacher, noise)
        task.pathwise_gradient(
            self.training.ema, self.student(), noise, lambda images: F.mse_loss(images, target)
        )
        self.optimiser.param_groups[0]["lr"] = RATE * (1 - progress) / self.share
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.sampled = self.student().detach()

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
