"""Noise levels of the literature that lie outside the tasks' family of plans."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from methods.base import Method, Problem
from methods.edm import EDM
from methods.training_run import TrainingRun
from tasks.base import Task


class FixedTable(Method):
    """One training at levels of its own, untuned, for the whole budget."""

    uses = "nothing"
    group = "fixed"

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return EDM.supports(task)

    @abstractmethod
    def levels(self, evaluations: int, device: str) -> tuple[Tensor, Tensor]:
        """Training levels `(TABLE,)`, and sampling levels `(evaluations,)`, increasing."""

    def run(self, problem: Problem) -> None:
        run = TrainingRun(problem)
        with torch.no_grad():
            run.train_at(*self.levels(run.task.evaluations, run.task.device))
        run.run()
