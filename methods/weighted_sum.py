"""The weighted sum of both rewards: the single-level baseline of the paper.

Instead of tuning how far the lower level follows r2, it is made to follow r2 + w · r1 at a
few strengths, of which the best is delivered. This asks more than the problem grants: the
samples follow the gradient of the upper reward itself, so what is tuned is the strength of
another lower level, whose results can be better than the optimum of the one given.
"""

from __future__ import annotations

from statistics import fmean

from methods.base import Method, Problem
from tasks.base import Candidate, Task
from tasks.finetune.base import FinetuneOracles
from tasks.finetune.solvers import LookAhead

LEVELS = (1.0, 10.0, 0.1, 100.0, 0.01)
"""The published grid, from its middle outwards: what is left out when the budget ends within
the first pass is a strength at which guidance does almost nothing, or almost everything."""


class WeightedSum(Method):
    """Guidance by the weighted sum of both rewards, at the best of five strengths.

    `weight` is w, and `fidelity` the number of samples drawn at a strength, in units of the
    task's standard trial. Every pass over the grid has fresh seeds, and means are pooled.
    With one strength per class all classes share the grid's.
    """

    name = "weighted-sum"
    group = "weighted sum"
    citation = "baseline of Xiao et al., ICML 2025, arXiv:2502.08808"
    uses = "gradients of the upper reward: another lower level"
    ranked = False

    def __init__(self, weight: float = 1.0, fidelity: float = 1.0) -> None:
        if not fidelity > 0:
            raise ValueError(f"fidelity must be positive, got {fidelity}")
        self.solver = LookAhead(upper_weight=weight)
        self.fidelity = fidelity

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "finetune"

    def run(self, problem: Problem) -> None:
        task, names = problem.oracles, problem.space.names
        assert isinstance(task, FinetuneOracles)
        count = max(round(self.fidelity * task.samples), 1)
        drawn: list[float] = (problem.restored or {"means": []})["means"]
        while True:
            problem.checkpoint({"means": drawn})
            params = dict.fromkeys(names, LEVELS[len(drawn) % len(LEVELS)])
            seed = problem.seed("guided", len(drawn))
            rewards = task.guided(params, count, seed, self.solver)
            drawn.append(float(rewards.upper.mean()))
            tried = range(min(len(drawn), len(LEVELS)))
            means = [fmean(drawn[level :: len(LEVELS)]) for level in tried]
            best = dict.fromkeys(names, LEVELS[means.index(max(means))])
            problem.report(Candidate(best, state=self.solver), -max(means))
