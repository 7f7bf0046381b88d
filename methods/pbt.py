"""Population-based training of networks and their plans."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from methods.base import Method, Problem
from methods.training_run import SingleRun
from tasks.base import Task
from tasks.space import Params
from tasks.training import Training, TrainingTask

LAST = 0.8
"""Share of the budget after which the best member trains on alone."""


class PBT(Method):
    """A population of trainings in turns; after each round the worst takes over the weights of the
    best and a perturbed copy of its plan.

    The first member starts at the default plan, the others near it. From 80 % of the budget on the
    best member has it to itself. `members` trainings, `rounds` comparisons, steps of `spread` in
    the unit cube. All follow one learning-rate schedule over the budget.
    """

    name = "pbt"
    citation = "Jaderberg et al., 2017, arXiv:1711.09846"
    uses = "scores of networks in training"
    group = "multi-fidelity"

    def __init__(self, members: int = 4, rounds: int = 8, spread: float = 0.15) -> None:
        if members < 2 or rounds < 1 or not spread > 0:
            raise ValueError(
                f"need members >= 2, rounds >= 1, spread > 0, got {members}, {rounds}, {spread}"
            )
        self.members, self.rounds, self.spread = members, rounds, spread

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return issubclass(task, TrainingTask)

    def run(self, problem: Problem) -> None:
        Population(problem, self).run()


class Population(SingleRun):
    """All members; `training` and `plan` are those of the best so far."""

    def __init__(self, problem: Problem, options: PBT) -> None:
        super().__init__(problem)
        self.options = options
        seeds = [problem.seed("training")] * options.members
        self.trainings: list[Training] = [self.training] + [self.task.begin(x) for x in seeds[1:]]
        self.plans: list[Params] = [self.plan] + [
            self.near(self.plan, f"start {i}") for i in range(1, options.members)
        ]
        self.rounds = 0
        self.best = 0

    def near(self, plan: Params, purpose: str) -> Params:
        """A perturbed copy of `plan` inside the box."""
        generator = np.random.default_rng(self.seed(purpose))
        space = self.problem.space
        position = space.to_unit(plan) + generator.normal(0, self.options.spread, len(space))
        return space.from_unit(position)

    def work(self, progress: float) -> None:
        if progress < LAST and progress >= LAST * (self.rounds + 1) / (self.options.rounds + 1):
            self.compare()
        alone = progress >= LAST
        member = self.best if alone else self.iteration % self.options.members
        condition = self.task.condition(self.plans[member])
        self.task.train_step(self.trainings[member], condition, progress)

    def compare(self) -> None:
        """Score all members; the worst goes on from the best."""
        scores = [
            self.problem.score(self.task.candidate(training.ema, plan))
            for training, plan in zip(self.trainings, self.plans, strict=True)
        ]
        ranked = np.argsort([score if np.isfinite(score) else np.inf for score in scores])
        self.best, worst = int(ranked[0]), int(ranked[-1])
        own = self.trainings[worst].state_dict()["generator"]
        self.trainings[worst].load_state_dict(
            self.trainings[self.best].state_dict() | {"generator": own}
        )
        self.plans[worst] = self.near(self.plans[self.best], "explore")
        self.rounds += 1
        self.training, self.plan = self.trainings[self.best], self.plans[self.best]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "trainings": [training.state_dict() for training in self.trainings],
            "plans": copy.deepcopy(self.plans),
            "rounds": self.rounds,
            "best": self.best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for training, saved in zip(self.trainings, state["trainings"], strict=True):
            training.load_state_dict(saved)
        self.plans = copy.deepcopy(state["plans"])
        self.rounds, self.best = state["rounds"], state["best"]
        self.training, self.plan = self.trainings[self.best], self.plans[self.best]
