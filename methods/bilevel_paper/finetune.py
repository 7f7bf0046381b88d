"""Generative bilevel optimisation as in the code released with the paper (Algorithm 2).

Kept as it was published, so that the paper's own algorithm can be compared with, at its
published settings: lambda starts at 5 and moves by plain gradient steps, each from a handful
of fresh samples of the pre-trained model, and the result is sampled with the released guidance
(`tasks.finetune.solvers.Linearised`). Research code answers other questions than a benchmark
asks; these are the places where we read the two as differing, each with the option that
replaces it by what the paper's equations say, so that their effects can be told apart:

- `estimator`: "est1" takes the divergences of the penalty gradient the other way round. Right
  to leading order at large lambda, it vanishes where E[r1] has fallen back to its pre-trained
  level, not where it is best. "penalty" is equation (4) of `tasks.finetune.estimators`,
  "covariance" its limit (3) for large gamma.
- `gamma` = 1 puts even the right penalty's root well off the optimum, by O(1 / gamma).
- `batch`: five samples per iteration hardly overlap with a tilted law. Reweighted to a small
  lambda, one sample takes all the weight, whatever the number of iterations.
- `log_steps`: a gradient of scale 1 / lambda² or 1 / lambda makes plain steps vanish at large
  lambda and overshoot at small ones; the released max(lambda - step, 0) can reach 0, by which
  guidance divides. Here lambda is kept in the task's space. True steps in log lambda.
- `start` and `step`: few steps of this size end close to where they started. The released
  code takes 10 (`iterations`); here they go on until the budget ends unless that is set.
- `solver`: see `Linearised`; "look-ahead" is the tasks' own guidance.

No iteration looks at a guided sample, so no error of the sampler can be noticed. The released
second estimator, from norms of guidance gradients, needs norms that tasks do not expose; it is
`tasks.finetune.estimators.published_path_gradient`, and not an option here. In the released
code the reward of its penalty term is r2 + gamma · r1 with r1 detached, whose gradient is that
of r2, so the two norms differ by the change of bias only: it is close to zero at any lambda.

With one lambda per class each class has its own gradient, and one with fewer than two samples
in a batch stays where it is: with ten classes, a batch of five moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from methods.base import Method, Problem
from tasks.base import Candidate, Task
from tasks.finetune.base import FinetuneTask
from tasks.finetune.estimators import penalty_gradient, pool_gradient, published_gradient
from tasks.finetune.rewards import Rewards
from tasks.finetune.solvers import LOOK_AHEAD, Linearised, Solver

Estimator = Callable[[Tensor, Tensor, float, float], Tensor]
"""dF/dlambda from r1, r2, lambda and gamma."""
ESTIMATORS: dict[str, Estimator] = {
    "est1": published_gradient,
    "penalty": penalty_gradient,
    "covariance": lambda upper, lower, strength, _: pool_gradient(upper, lower, strength)[0],
}
T = TypeVar("T")
REPORT_SPACING = 0.03
"""Share of the budget between two reports."""
LARGEST_LOG_STEP = 100.0
"""Beyond any box, and not yet an overflow."""
SOLVERS: dict[str, Solver] = {"linearised": Linearised(), "look-ahead": LOOK_AHEAD}


class PublishedBilevel(Method):
    """Generative bilevel optimisation as released with the paper, each deviation an option."""

    name = "bilevel-paper"
    citation = "Xiao et al., ICML 2025, arXiv:2502.08808, Algorithm 2 and released code"
    uses = "rewards of pre-trained samples; delivers its own solver"

    def __init__(
        self,
        estimator: str = "est1",
        step: float = 0.1,
        gamma: float = 1.0,
        batch: int = 5,
        start: float = 5.0,
        log_steps: bool = False,
        solver: str = "linearised",
        iterations: int | None = None,
    ) -> None:
        self.gradient = _named("estimator", estimator, ESTIMATORS)
        self.solver = _named("solver", solver, SOLVERS)
        self.step, self.gamma, self.batch, self.start = step, gamma, batch, start
        self.log_steps = log_steps
        self.iterations = math.inf if iterations is None else iterations

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "finetune"

    def run(self, problem: Problem) -> None:
        task, variables = problem.task, problem.space.variables
        assert isinstance(task, FinetuneTask)
        state: dict[str, Any] = problem.restored or {
            "strengths": [self.start] * len(variables),
            "iteration": 0,
            "reported": -1.0,
        }
        while True:
            problem.checkpoint(state)
            progress, done = problem.progress, state["iteration"] >= self.iterations
            if done or progress >= state["reported"] + REPORT_SPACING:
                state["reported"] = progress
                params = dict(zip(problem.space.names, state["strengths"], strict=True))
                problem.report(Candidate(params, state=self.solver))
            if done:
                return
            rewards = task.pool(self.batch, problem.seed("pool", state["iteration"]))
            state["strengths"] = [
                min(max(self._moved(strength, part), variable.low), variable.high)
                for strength, part, variable in zip(
                    state["strengths"], by_group(rewards, len(variables)), variables, strict=True
                )
            ]
            state["iteration"] += 1

    def _moved(self, strength: float, rewards: Rewards) -> float:
        """One descent step from lambda = `strength`; none from fewer than two samples."""
        if len(rewards) < 2:
            return strength
        upper, lower = rewards.upper.double(), rewards.lower.double()
        gradient = float(self.gradient(upper, lower, strength, self.gamma))
        if self.log_steps:
            return strength * math.exp(min(-self.step * strength * gradient, LARGEST_LOG_STEP))
        return strength - self.step * gradient


def _named(option: str, name: str, known: dict[str, T]) -> T:
    if name not in known:
        raise ValueError(f"{option} must be one of {', '.join(known)}, got {name!r}")
    return known[name]


def by_group(rewards: Rewards, groups: int) -> list[Rewards]:
    """The rewards of each class; all of them together where one lambda serves every class."""
    if groups == 1 or rewards.group is None:
        return [rewards]
    members = [rewards.group == group for group in range(groups)]
    return [Rewards(rewards.upper[one], rewards.lower[one]) for one in members]
