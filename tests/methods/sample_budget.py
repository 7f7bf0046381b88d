"""A problem with a budget of samples, for tests of methods that draw their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, cast

import numpy as np
import pytest

from methods.base import Method, Problem
from tasks.base import Candidate, Task
from tasks.oracles import exposed
from tasks.space import Params


class Exhausted(BaseException):
    pass


class SampleBudget:
    """As much of a problem as the method uses; the budget is a number of scored images."""

    def __init__(self, task: Task, budget: int, seed: int = 0) -> None:
        self.task, self.space = task, task.space
        self.oracles = exposed(task)
        task.meter = self
        self.budget, self.used, self.run_seed = budget, 0, seed
        self.restored: dict[str, Any] | None = None
        self.states: list[tuple[int, dict[str, Any]]] = []
        self.reports: list[tuple[Params, float | None]] = []
        self.candidates: list[Candidate] = []
        self.trials: list[tuple[Params, float]] = []
        self.rng = np.random.default_rng(seed)

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        if self.used >= self.budget:
            raise Exhausted
        yield
        self.used += work.get("scored_images", 0)

    @property
    def progress(self) -> float:
        return self.used / self.budget

    @property
    def incumbent(self) -> Params | None:
        return self.reports[-1][0] if self.reports else None

    def evaluate(self, params: Params, fidelity: float = 1.0, keep: bool = True) -> float:
        seed = self.seed("trial", len(self.trials))
        (candidate,) = self.task.iterate(params, (fidelity,), seed)
        score = self.task.score(candidate, seed)
        if keep and score < min((score for _, score in self.trials), default=np.inf):
            self.report(candidate, score)
        self.trials.append((params, score))
        return score

    def develop(self, params: Params) -> None:
        raise Exhausted

    def seed(self, *axes: str | int) -> int:
        return int(
            np.random.SeedSequence([self.run_seed, *map(ord, repr(axes))]).generate_state(1)[0]
        )

    def checkpoint(self, state: dict[str, Any]) -> None:
        self.states.append((self.used, deepcopy(state)))

    def report(self, candidate: Candidate, score: float | None = None) -> None:
        self.reports.append((self.space.validate(candidate.params), score))
        self.candidates.append(candidate)


def spend(method: Method, problem: SampleBudget) -> SampleBudget:
    """Run `method` until the budget is spent."""
    with pytest.raises(Exhausted):
        method.run(cast(Problem, problem))
    return problem


def resumed(method: Method, whole: SampleBudget) -> SampleBudget:
    """Run `method` again from a checkpoint half-way through the finished run `whole`."""
    used, state = whole.states[len(whole.states) // 2]
    problem = SampleBudget(whole.task, whole.budget, whole.run_seed)
    problem.used, problem.restored = used, deepcopy(state)
    return spend(method, problem)
