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
from typing import Any

import numpy as np
import torch

from benchmark import registry
from tasks.base import Candidate, FreeMeter, Task
from tasks.space import Params

SIZES = (100, 200, 500)
TASK, BUDGET = "finetune/digits-perclass", 5000
BY_FIDELITY = ("shared-grid", "optuna-cmaes", "grid-by-class", "optuna-tpe", "random")
BY_BATCH = ("spsa-crn", "bilevel")


class Spent(BaseException):
    """The images are used up."""


class ImageBudget:
    """A problem whose budget is a number of scored images."""

    def __init__(self, task: Task, budget: int, seed: int) -> None:
        self.task = self.oracles = task
        self.space, self.budget, self.used = task.space, budget, 0
        self.axis, self.rng = seed, np.random.default_rng(seed)
        self.restored = None
        self.delivered, self.best, self.trials = task.space.default, np.inf, 0
        task.meter = self

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        if self.used >= self.budget:
            raise Spent
        yield
        self.used += work.get("scored_images", 0)

    @property
    def progress(self) -> float:
        return self.used / self.budget

    @property
    def incumbent(self) -> Params:
        return self.delivered

    def seed(self, *axes: str | int) -> int:
        words = [self.axis, *(ord(letter) for letter in repr(axes))]
        return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)

    def evaluate(self, params: Params, fidelity: float = 1.0) -> float:
        self.trials += 1
        seed = self.seed("trial", self.trials)
        (candidate,) = self.task.iterate(params, (fidelity,), seed)
        score = self.task.score(candidate, seed)
        if score < self.best:
            self.best, self.delivered = score, params
        return score

    def report(self, candidate: Candidate, score: float | None = None) -> None:
        self.delivered = candidate.params

    def checkpoint(self, state: dict[str, Any]) -> None:
        pass

    def develop(self, params: Params) -> None:
        raise Spent


def delivered(name: str, task: Task, size: int, seed: int) -> float:
    """E[r1] of what the method called `name` delivers with trials of `size` images."""
    kind = registry.method(name)
    if name == "bilevel":
        method = kind(finetune={"batch": size})
    elif name in BY_BATCH:
        method = kind(batch=size)
    else:
        method = kind(fidelity=size / task.samples)  # type: ignore[attr-defined]
    problem = ImageBudget(task, BUDGET, 1000 + seed)
    with suppress(Spent):
        method.run(problem)  # type: ignore[arg-type]
    task.meter = FreeMeter()
    return task.evaluate(Candidate(problem.delivered), 77)["reward"]


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
