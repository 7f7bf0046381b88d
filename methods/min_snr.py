"""Min-SNR weighting of the loss over the cosine schedule."""

from __future__ import annotations

import torch

from methods.base import Method, Problem
from methods.edm import EDM
from methods.training_run import TrainingRun
from tasks.base import Task
from tasks.schedule.plans import PUBLISHED, resampled, visited

GAMMA = 5.0
"""Bound on the signal-to-noise ratio, as published."""


class MinSNR(Method):
    """The cosine schedule with losses weighted by min(SNR, 5) / SNR, the published weight of noise
    prediction, as the density that noise levels are drawn with; uniform steps in sampling."""

    name = "min-snr"
    citation = "Hang et al., ICCV 2023, arXiv:2303.09556"
    uses = "nothing"
    group = "fixed"

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return EDM.supports(task)

    def run(self, problem: Problem) -> None:
        run = TrainingRun(problem)
        default = torch.tensor(PUBLISHED.space.to_unit(PUBLISHED.space.default))
        table = PUBLISHED.training_levels(default).to(run.task.device)
        ratio = table.exp()
        run.train_at(
            resampled(table, ratio.clamp(max=GAMMA) / ratio), visited(table, run.task.evaluations)
        )
        run.run()
