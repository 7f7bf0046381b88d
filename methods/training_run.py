"""One training of one network in a resumable loop: what single-run methods share."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from methods.base import Problem
from tasks.schedule.oracles import ScheduleOracles
from tasks.schedule.plans import Plan
from tasks.space import Params
from tasks.training import TrainingOracles

END = 0.985
"""Share of the budget at which the last candidate is handed over."""
REPORTS = 11


class SingleRun:
    """Train under `params` (the default if left out) until `END` of the budget, with reports.

    Works on every task that trains. A subclass overrides `work`, one piece of work between two
    looks at the clock, and adds what it carries to `state_dict` and `load_state_dict`.
    """

    def __init__(self, problem: Problem, params: Params | None = None) -> None:
        task = problem.oracles
        assert isinstance(task, TrainingOracles)
        self.problem = problem
        self.task: TrainingOracles = task
        self.plan: Params = params or problem.space.default
        self.begun = problem.progress
        """Share of the budget spent before this run."""
        self.training = self.task.begin(problem.seed("training"))
        self.levels: Tensor = self.task.condition(self.plan)
        """The condition of a training step: training levels, or a strength."""
        self.iteration = 0
        self.stride = 0.0
        """Share of the run that the last iteration took: the next one must fit in."""
        self.reported = 0.0

    def run(self) -> None:
        restored = self.problem.restored
        if restored is not None:
            self.load_state_dict(restored)
        progress = self.progress()
        while progress + self.stride < 1:
            if progress >= self.reported + 1 / REPORTS:
                self.reported = progress
                self.report()
                self.problem.checkpoint(self.state_dict())
            self.work(progress)
            self.iteration += 1
            before, progress = progress, self.progress()
            self.stride = progress - before
        self.report()

    def work(self, progress: float) -> None:
        """One piece of work, `progress` of the run being over: by default a training step."""
        self.task.train_step(self.training, self.levels, progress)

    def progress(self) -> float:
        """Share of this run that is over, 0 to 1 and a little beyond."""
        return (self.problem.progress - self.begun) / (END - self.begun)

    def seed(self, purpose: str) -> int:
        """A seed for the present iteration, the same after a resumption."""
        return self.problem.seed(purpose, self.iteration)

    def report(self) -> None:
        self.problem.report(self.task.candidate(self.training.ema, self.plan))

    def state_dict(self) -> dict[str, Any]:
        return {
            "begun": self.begun,
            "training": self.training.state_dict(),
            "iteration": self.iteration,
            "stride": self.stride,
            "reported": self.reported,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.begun = state["begun"]
        self.training.load_state_dict(state["training"])
        self.iteration = state["iteration"]
        self.stride = state["stride"]
        self.reported = state["reported"]


class TrainingRun(SingleRun):
    """A single run on a schedule task. `levels` are the training levels, and `sampled` sampling
    levels outside the task's family, if any."""

    task: ScheduleOracles

    def __init__(self, problem: Problem, params: Params | None = None) -> None:
        assert isinstance(problem.oracles, ScheduleOracles)
        super().__init__(problem, params)
        self.sampled: Tensor | None = None

    def train_at(self, levels: Tensor, sampled: Tensor) -> None:
        """Take training `levels` `(TABLE,)` and sampling levels from outside the task's family; the
        nearest plan of the family is recorded."""
        plans = self.task.plans
        assert isinstance(plans, Plan)
        self.levels, self.sampled, self.plan = levels, sampled, plans.nearest(levels)

    def report(self) -> None:
        self.problem.report(self.task.candidate(self.training.ema, self.plan, levels=self.sampled))
