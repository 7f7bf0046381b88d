"""Methods for tests of the harness: one with checkpoints, one without."""

from __future__ import annotations

import itertools
from typing import Protocol

from methods.base import Method, Problem
from tasks.base import Candidate
from tasks.oracles import Oracles


class ToyOracles(Oracles, Protocol):
    """What a method may call of `tests.conftest.ToyTask`."""

    def step(self) -> None:
        """One charged primitive that does nothing."""


class Descent(Method):
    """A single-run method with checkpoints."""

    name = "descent"
    citation = "-"

    def run(self, problem: Problem) -> None:
        state = problem.restored or {"iteration": 0, "draw": 0.0}
        while True:
            position = 1.0 / (1 + state["iteration"])
            for _ in range(7):
                problem.oracles.step()
            problem.report(Candidate(problem.space.from_unit([position]), position))
            state = {"iteration": state["iteration"] + 1, "draw": float(problem.rng.random())}
            problem.checkpoint(state)


class Oracle(Method):
    """Calls oracles between evaluations, abandons some trials, and keeps no checkpoint."""

    name = "oracle"
    citation = "-"

    def run(self, problem: Problem) -> None:
        for iteration in itertools.count():
            for _ in range(3):
                problem.oracles.step()
            problem.evaluate(problem.space.from_unit([problem.rng.random()]), 0.5)
            if iteration % 3 == 2:
                for score in problem.stages(problem.space.default, (0.2, 0.4, 0.8)):
                    if score > 2.5:
                        break
