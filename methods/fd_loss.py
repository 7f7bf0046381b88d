"""The Fréchet distance of generated images as the loss of a last phase of training."""

from __future__ import annotations

from methods.base import Method, Problem
from methods.bilevel import schedule
from tasks.base import Task


class FDLoss(Method):
    """Training at the default plan, then steps of the weights on the Fréchet distance alone.

    The moving-average form of the source: the moments of the features are averaged over batches,
    and the gradient reaches the weights through the whole sampler. `share` of the budget goes to
    it, at a learning rate of `rate` times the task's, `memory` being the share of the moments that
    a batch leaves.
    """

    name = "fd-loss"
    citation = "Yang et al., 2026, arXiv:2604.28190"
    uses = "gradients of the loss and of FID"
    group = "staged"

    def __init__(self, share: float = 0.4, rate: float = 0.1, memory: float = 0.5) -> None:
        self.options = schedule.Options(
            learn_training="", learn_sampling=False, tail=share, rate=rate, memory=memory,
            sampling=False, loss=False,
        )  # fmt: skip

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "schedule"

    def run(self, problem: Problem) -> None:
        schedule.run(problem, self.options)
