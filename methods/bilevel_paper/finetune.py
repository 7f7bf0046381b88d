"""Entropy strengths as in the code released with the paper (arXiv 2502.08808, Algorithm 2).

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from methods.base import Problem
from tasks.base import Candidate
from tasks.finetune.base import FinetuneOracles
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
REPORT_SPACING = 0.03
"""Share of the budget between two reports."""
LARGEST_LOG_STEP = 100.0
"""Beyond any box, and not yet an overflow."""
SOLVERS: dict[str, Solver] = {"linearised": Linearised(), "look-ahead": LOOK_AHEAD}


@dataclass(frozen=True)
class Options:
    """Settings as published; what each is about stands at the top of this file."""

    estimator: str = "est1"
    step: float = 0.1
    gamma: float = 1.0
    batch: int = 5
    """Samples of the pre-trained model per iteration."""
    start: float = 5.0
    """First lambda."""
    log_steps: bool = False
    solver: str = "linearised"
    iterations: int | None = None
    """Iterations after which lambda stays; None goes on until the budget ends."""

    def __post_init__(self) -> None:
        _check("estimator", self.estimator, ESTIMATORS)
        _check("solver", self.solver, SOLVERS)


def run(problem: Problem, options: Options | None = None) -> None:
    """Descend from the first lambda, and report a few dozen times."""
    options = options or Options()
    task, variables = problem.oracles, problem.space.variables
    assert isinstance(task, FinetuneOracles)
    iterations = math.inf if options.iterations is None else options.iterations
    state: dict[str, Any] = problem.restored or {
        "strengths": [options.start] * len(variables),
        "iteration": 0,
        "reported": -1.0,
    }
    while True:
        problem.checkpoint(state)
        progress, done = problem.progress, state["iteration"] >= iterations
        if done or progress >= state["reported"] + REPORT_SPACING:
            state["reported"] = progress
            params = dict(zip(problem.space.names, state["strengths"], strict=True))
            problem.report(Candidate(params, state=SOLVERS[options.solver]))
        if done:
            return
        rewards = task.pool(options.batch, problem.seed("pool", state["iteration"]))
        state["strengths"] = [
            min(max(moved(strength, part, options), variable.low), variable.high)
            for strength, part, variable in zip(
                state["strengths"], by_group(rewards, len(variables)), variables, strict=True
            )
        ]
        state["iteration"] += 1


def moved(strength: float, rewards: Rewards, options: Options) -> float:
    """One descent step from lambda = `strength`; none from fewer than two samples."""
    if len(rewards) < 2:
        return strength
    upper, lower = rewards.upper.double(), rewards.lower.double()
    gradient = float(ESTIMATORS[options.estimator](upper, lower, strength, options.gamma))
    if options.log_steps:
        return strength * math.exp(min(-options.step * strength * gradient, LARGEST_LOG_STEP))
    return strength - options.step * gradient


def _check(option: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise ValueError(f"{option} must be one of {', '.join(known)}, got {name!r}")


def by_group(rewards: Rewards, groups: int) -> list[Rewards]:
    """The rewards of each class; all of them together where one lambda serves every class."""
    if groups == 1 or rewards.group is None:
        return [rewards]
    members = [rewards.group == group for group in range(groups)]
    return [Rewards(rewards.upper[one], rewards.lower[one]) for one in members]
