"""Generative bilevel optimisation as in the code released with the paper, by task family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from methods.base import Method, Problem, settings
from tasks.base import Task


class PublishedBilevel(Method):
    """Generative bilevel optimisation as released with the paper, each deviation an option.

    `finetune` and `schedule` hold options of the family's solver: fields of
    `methods.bilevel_paper.finetune.Options` and `methods.bilevel_paper.schedule.Options`.
    """

    name = "bilevel-paper"
    group = "bilevel"
    citation = "Xiao et al., ICML 2025, arXiv:2502.08808, Algorithms 2 and 6, and released code"
    uses = (
        "rewards of pre-trained samples, and its own solver; on schedule tasks, gradients of the "
        "loss and FID of few samples"
    )

    def __init__(
        self,
        finetune: Mapping[str, Any] | None = None,
        schedule: Mapping[str, Any] | None = None,
    ) -> None:
        from methods.bilevel_paper.finetune import Options as FinetuneOptions
        from methods.bilevel_paper.schedule import Options as ScheduleOptions

        self.finetune = settings(FinetuneOptions, finetune)
        self.schedule = settings(ScheduleOptions, schedule)

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family in ("finetune", "schedule")

    def run(self, problem: Problem) -> None:
        from methods.bilevel_paper import finetune, schedule

        if problem.oracles.family == "finetune":
            finetune.run(problem, self.finetune)
        else:
            schedule.run(problem, self.schedule)
