"""Realignment at sampling time: one training, from which other entropy strengths are emulated."""

from __future__ import annotations

import math
from typing import Any

from methods.base import Method, Problem
from methods.training_run import SingleRun
from tasks.base import Task
from tasks.finetune.trained import TrainedOracles, TrainedTask
from tasks.space import Params

FINEST = 0.05
"""Smallest spacing of mixtures, in log m."""


class DeRaDiff(Method):
    """Train once at `strength`, for a `share` of the budget; then search the strength by sampling.

    A geometric mixture p_pretrained^(1 - m) · p_trained^m of every transition emulates a training
    at `strength` / m. The mixtures of 1 and of half a decade to either side are scored first, then
    points around the best, with the spacing halved each time until it is a few percent. What is
    then left of the budget is not used.
    """

    name = "deradiff"
    citation = "Manujith et al., ICLR 2026, arXiv:2601.20198"
    uses = "scores; mixtures of the trained and the pre-trained sampler"
    group = "staged"

    def __init__(self, strength: float = 1.0, share: float = 0.9) -> None:
        if not strength > 0 or not 0 < share < 1:
            raise ValueError(f"need strength > 0 and share in (0, 1), got {strength}, {share}")
        self.strength, self.share = strength, share

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return issubclass(task, TrainedTask)

    def run(self, problem: Problem) -> None:
        Realignment(problem, self).run()


class Realignment(SingleRun):
    """One training, and the scores of its mixtures."""

    task: TrainedOracles

    def __init__(self, problem: Problem, options: DeRaDiff) -> None:
        assert isinstance(problem.oracles, TrainedOracles)
        super().__init__(problem, dict.fromkeys(problem.space.names, options.strength))
        self.options = options
        self.scores: dict[float, float] = {}
        """Score of every mixture tried, by the logarithm of m."""
        self.exhausted = False

    def progress(self) -> float:
        return 1.0 if self.exhausted else super().progress()

    def work(self, progress: float) -> None:
        if progress < self.options.share:
            super().work(progress / self.options.share)
            return
        tried = next_mixture(self.scores)
        if tried is None:
            self.exhausted = True
            return
        score = self.problem.score(
            self.task.candidate(self.training.ema, self.emulated(tried), math.exp(tried))
        )
        self.scores[tried] = score if math.isfinite(score) else math.inf

    def emulated(self, mixture: float) -> Params:
        """The strength that a mixture stands for, in the box."""
        (variable,) = self.problem.space.variables
        strength = self.options.strength / math.exp(mixture)
        return {variable.name: min(max(strength, variable.low), variable.high)}

    def report(self) -> None:
        best = min(self.scores, key=lambda mixture: self.scores[mixture], default=0.0)
        self.problem.report(
            self.task.candidate(self.training.ema, self.emulated(best), math.exp(best)),
            self.scores.get(best),
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"scores": dict(self.scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.scores = dict(state["scores"])


def next_mixture(scores: dict[float, float]) -> float | None:
    """The next logarithm of m to try: a neighbour of the best one at the widest spacing at which
    it has one that has not been tried; None if it has none at `FINEST`."""
    if not scores:
        return 0.0
    best = min(scores, key=lambda mixture: scores[mixture])
    spacing = math.log(10) / 2
    while spacing > FINEST:
        for tried in (best + spacing, best - spacing):
            if all(abs(tried - other) > spacing / 4 for other in scores):
                return tried
        spacing /= 2
    return None
