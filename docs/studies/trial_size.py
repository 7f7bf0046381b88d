"""How many images a trial of fine-tuning should have: the rule for all methods, from digits alone.

    python docs/studies/trial_size.py [SEEDS]

Every method spends the same number of scored images, in trials (or batches) of each size; printed
is E[r1] of what it delivers, over 2000 fresh samples, with the standard error over seeds.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from benchmark import registry
from tasks.base import Candidate, FreeMeter, Task
from tasks.oracles import exposed
from tasks.space import Params

SIZES = (100, 200, 500)
TASK, BUDGET = "finetune/digits-perclass", 5000
BY_FIDELITY = ("shared-grid", "optuna-cmaes", "grid-by-class", "optuna-tpe", "random")
BY_BATCH = ("spsa-crn", "bilevel")


class Exhausted(BaseException):
    """The images are used up."""


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

    def evaluate(self, params: Params, fidelity: float = 1.0, deliver: bool = True) -> float:
        seed = self.seed("trial", len(self.trials))
        (candidate,) = self.task.iterate(params, (fidelity,), seed)
        score = self.task.score(candidate, seed)
        if deliver and score < min((score for _, score in self.trials), default=np.inf):
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


def delivered(name: str, task: Task, size: int, seed: int) -> float:
    """E[r1] of what the method called `name` delivers with trials of `size` images."""
    kind = registry.method(name)
    if name == "bilevel":
        method = kind(finetune={"batch": size})
    elif name in BY_BATCH:
        method = kind(batch=size)
    else:
        method = kind(fidelity=size / task.samples)  # type: ignore[attr-defined]
    problem = SampleBudget(task, BUDGET, 1000 + seed)
    with suppress(Exhausted):
        method.run(problem)  # type: ignore[arg-type]
    task.meter = FreeMeter()
    return task.evaluate(Candidate(problem.incumbent or task.space.default), 77)["reward"]


def main(seeds: int) -> None:
    torch.set_num_threads(1)
    task = registry.task(TASK)()
    task.setup()
    floor = task.evaluate(Candidate(task.space.default), 77)["reward"]
    print(f"{TASK}: {BUDGET} images, {seeds} seeds, default {floor:.3f}", flush=True)
    for method in (*BY_BATCH, *BY_FIDELITY):
        cells = []
        for size in SIZES:
            values = [delivered(method, task, size, seed) for seed in range(seeds)]
            error = statistics.stdev(values) / seeds**0.5
            cells.append(f"{size}: {statistics.mean(values):.3f} ({error:.3f})")
        print(f"  {method:14s}", "  ".join(cells), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
