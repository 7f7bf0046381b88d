"""Simultaneous-perturbation stochastic approximation with common random numbers.

The zeroth-order counterpart of following a hypergradient: each iteration draws a batch on
either side of the current strengths, at log lambda ± c_k · signs and from the same noise, and
steps along the difference of the two mean rewards. That is one slope along a random diagonal,
whatever the number of strengths. With one strength per class `Rewards.group` would give each
class its own slope; this method stays a black box and looks at the mean over all samples only.

The gain sequences are Spall's, and so is the rule for a: it makes the first step as long as
wanted at the slope found in a few trials (IEEE TAES 1998, sections III.A and III.B),

    a_k = a / (A + k + 1)^0.602,   c_k = c / (k + 1)^0.101.

Steps are bounded, and the average of the iterates is delivered (Polyak & Juditsky, 1992).

Defaults were chosen on other seeds than those of the suites, 10 to 15 on `finetune/gaussian`
and 10 to 12 on the two digit tasks: `first` 0.1, 0.25, 0.5 and 1, `perturbation` 0.25, 0.5 and
1. On one strength any of those tried will do. On ten, shorter first steps get there later and
longer ones are unstable; half the perturbation made no difference, twice as much is worse at the
end. `batch` is the 200 images of every method's trial (`tasks.finetune.latent`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from methods.base import Method, Problem
from tasks.base import Candidate, Task
from tasks.finetune.base import FinetuneOracles
from tasks.space import Params, Space

REPORT_SPACING = 0.03
"""Share of the budget between two reports."""
AVERAGING = 3
"""Power of the polynomial-decay average (Shamir & Zhang, 2013, arXiv 1212.1824)."""
TRIALS = 4
"""Slopes at the initial point from which a is set."""


class SPSA(Method):
    """Two-point stochastic approximation in log lambda with common random numbers.

    `batch` is the samples per iteration, both sides together; `first` the length of the first
    step in each log lambda, `limit` a bound on all; `stability` is A and `perturbation` c.
    """

    name = "spsa-crn"
    group = "stochastic approximation"
    citation = "Spall, IEEE TAC 1992; gains: Spall, IEEE TAES 1998"
    uses = "mean r1 of pairs of batches with common noise"

    def __init__(
        self,
        batch: int = 200,
        first: float = 0.5,
        limit: float = 0.5,
        stability: float = 10.0,
        perturbation: float = 0.5,
    ) -> None:
        if batch < 2 or not min(first, limit, perturbation) > 0 or stability < 0:
            raise ValueError(
                "need batch >= 2, first, limit and perturbation > 0, stability >= 0, got "
                f"{batch}, {first}, {limit}, {perturbation}, {stability}"
            )
        self.batch, self.first, self.limit = batch, first, limit
        self.stability, self.perturbation = stability, perturbation

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "finetune"

    def run(self, problem: Problem) -> None:
        space = problem.space
        start = np.log(list(space.default.values())).tolist()
        state: dict[str, Any] = problem.restored or {
            "position": start,
            "average": start,
            "slopes": [],
            "iteration": 0,
            "reported": -1.0,
        }
        while True:
            problem.checkpoint(state)
            progress = problem.progress
            if progress >= state["reported"] + REPORT_SPACING:
                state["reported"] = progress
                problem.report(Candidate(strengths_at(space, np.array(state["average"]))))
            if len(state["slopes"]) < TRIALS:
                slope, _ = self._slope(problem, state, problem.seed("trial", len(state["slopes"])))
                state["slopes"].append(slope)
            else:
                self._advance(problem, state)

    def _advance(self, problem: Problem, state: dict[str, Any]) -> None:
        """One step, and the average that follows it."""
        iteration = state["iteration"]
        slope, signs = self._slope(problem, state, problem.seed("pair", iteration))
        scale = np.mean(np.abs(state["slopes"]))
        gain = self.first * (1 + iteration / (1 + self.stability)) ** -0.602
        step = np.clip(gain * slope / scale, -self.limit, self.limit) if scale else 0.0
        ends = [(variable.low, variable.high) for variable in problem.space.variables]
        position = np.clip(np.array(state["position"]) - step * signs, *np.log(ends).T)
        weight = (AVERAGING + 1) / (AVERAGING + 1 + iteration)
        average = (1 - weight) * np.array(state["average"]) + weight * position
        state |= {
            "position": position.tolist(),
            "average": average.tolist(),
            "iteration": iteration + 1,
        }

    def _slope(
        self, problem: Problem, state: dict[str, Any], seed: int
    ) -> tuple[float, np.ndarray]:
        """Slope of the loss -E[r1] along random signs at the current position, and the signs."""
        task, position = problem.oracles, np.array(state["position"])
        assert isinstance(task, FinetuneOracles)
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), len(position))
        offset = self.perturbation / (state["iteration"] + 1) ** 0.101

        sides = [strengths_at(problem.space, position + x * signs) for x in (offset, -offset)]
        above, below = task.guided_each(sides, self.batch // 2, seed)
        slope = float(below.upper.mean() - above.upper.mean()) / (2 * offset)
        return slope, signs


def strengths_at(space: Space, position: np.ndarray) -> Params:
    """Strengths at log positions, kept in the box."""
    return {
        variable.name: min(max(float(value), variable.low), variable.high)
        for variable, value in zip(space.variables, np.exp(position), strict=True)
    }
