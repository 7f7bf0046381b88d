"""First-order generative bilevel optimisation, one solver per task family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from methods.base import Method, Problem, settings
from tasks.base import Task

FAMILIES = ("finetune", "finetune-trained", "schedule")


class Bilevel(Method):
    """Follow the hypergradient of a single run instead of comparing many.

    `finetune`, `trained` and `schedule` hold options of the family's solver: fields of `Options` in
    `methods.bilevel.finetune`, `methods.bilevel.trained` and `methods.bilevel.schedule`.
    """

    name = "bilevel"
    group = "bilevel"
    citation = "Xiao et al., ICML 2025, arXiv:2502.08808"
    uses = "rewards of its own samples; on schedule tasks, gradients of the loss and of FID"

    def __init__(
        self,
        finetune: Mapping[str, Any] | None = None,
        schedule: Mapping[str, Any] | None = None,
        trained: Mapping[str, Any] | None = None,
    ) -> None:
        from methods.bilevel.finetune import Options as FinetuneOptions
        from methods.bilevel.schedule import Options as ScheduleOptions
        from methods.bilevel.trained import Options as TrainedOptions

        self.finetune = settings(FinetuneOptions, finetune)
        self.schedule = settings(ScheduleOptions, schedule)
        self.trained = settings(TrainedOptions, trained)

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family in FAMILIES

    def run(self, problem: Problem) -> None:
        from methods.bilevel import finetune, schedule, trained

        if problem.oracles.family == "finetune":
            finetune.run(problem, self.finetune)
        elif problem.oracles.family == "finetune-trained":
            trained.TrainedRun(problem, self.trained).run()
        else:
            schedule.run(problem, self.schedule)
