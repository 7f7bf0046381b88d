"""The linear schedule of DDPM, rescaled to end at pure noise."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.base import Method, Problem
from methods.edm import EDM
from methods.training_run import TrainingRun
from tasks.base import Task
from tasks.schedule.plans import BOUND, TABLE, log_ratio


class ZeroSNR(Method):
    """DDPM's linear betas with zero terminal signal-to-noise ratio, sampled at trailing steps.

    The published remedy predicts v at the last step; the noise prediction of the tasks' networks
    needs some signal, so the ratio ends at exp(-16) here.
    """

    name = "zero-snr"
    citation = "Lin et al., WACV 2024, arXiv:2305.08891"
    uses = "nothing"
    group = "fixed"

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return EDM.supports(task)

    def run(self, problem: Problem) -> None:
        run = TrainingRun(problem)
        table = rescaled().to(run.task.device)
        last = torch.arange(run.task.evaluations, 0, -1) * TABLE // run.task.evaluations - 1
        run.train_at(table, table[last.to(table.device)])
        run.run()


def rescaled() -> Tensor:
    """Levels `(TABLE,)` of algorithm 1 of the source, from the clean end to the noisy one."""
    betas = torch.linspace(1e-4, 0.02, TABLE, dtype=torch.float64)
    root = (1 - betas).cumprod(0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return log_ratio(root.square().clamp(1e-9, 1 - 1e-12)).clamp(-BOUND, BOUND)
