"""The plan of EDM, untuned."""

from __future__ import annotations

from methods.base import Method, Problem
from tasks.base import Task
from tasks.schedule.plans import KARRAS, NORMAL, Plan


class EDM(Method):
    """Log-normal training levels and EDM's sampling levels, for the whole budget."""

    name = "edm"
    citation = "Karras et al., NeurIPS 2022, arXiv:2206.00364"
    uses = "nothing"
    group = "fixed"

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return isinstance(getattr(task, "plans", None), Plan)

    def run(self, problem: Problem) -> None:
        problem.develop(NORMAL | KARRAS)
