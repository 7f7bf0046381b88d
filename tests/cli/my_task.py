"""A task in a file of its own, as a user writes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tasks.base import Candidate, Metric, Task
from tasks.space import Params, Space, Variable

STEPS = 50


class Mine(Task):
    """Gradient descent on a parabola, whose step size is to be tuned."""

    name = "mine/parabola"
    description = "gradient descent on a parabola"
    citation = "-"
    family = "mine"
    space = Space((Variable("step_size", 1e-3, 1.0, 0.01, log=True),))
    metrics = (Metric("distance", "distance", log=True),)
    budget = 1 / 3600

    def iterate(
        self, params: Params, stops: Sequence[float], seed: int,
        progress: Callable[[], float] | None = None, resume: dict[str, Any] | None = None,
    ) -> Iterator[Candidate]:  # fmt: skip
        state = resume or {"x": 3 + 0.1 * np.random.default_rng(seed).normal(), "step": 0, "at": 0}
        x, step, at = state["x"], state["step"], state["at"]
        while at < len(stops):
            if (progress() if progress else step / STEPS) >= stops[at]:
                at += 1
                yield Candidate(params, x, {"x": x, "step": step, "at": at})
                continue
            with self.meter.charge("step", train_images=1):
                x -= params["step_size"] * 2 * x
                step += 1

    def score(self, candidate: Candidate, seed: int) -> float:
        with self.meter.charge("score", scored_images=1):
            return abs(float(candidate.state)) + 1e-6

    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        with self.meter.charge("score"):
            return {"distance": abs(float(candidate.state)) + 1e-9}
