"""One entropy strength for everything: the baseline of the paper, refined."""

from __future__ import annotations

import math

import numpy as np

from methods.base import Search
from tasks.base import Task
from tasks.space import Params, Space

PUBLISHED = (1.0, 0.1, 100.0, 0.01, 10.0)
"""The published strengths, from the middle outwards."""


class SharedGrid(Search):
    """The published five strengths, one for all variables; then halving around the best.

    After the five, the points half a spacing to either side of the best one so far are tried, then
    a quarter, and so on. The default is the first trial, and not tried again.
    """

    name = "shared-grid"
    group = "grid"
    citation = "baseline of Xiao et al., ICML 2025, arXiv:2502.08808"

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family in ("finetune", "finetune-trained")

    def start(self, space: Space, rng: np.random.Generator) -> None:
        self.space = space
        self.queue = [s for s in PUBLISHED if dict.fromkeys(space.names, s) != space.default]
        self.factor = 10.0
        self.scores: dict[float, float] = {}

    def ask(self) -> Params:
        while not self.queue:
            self.factor = math.sqrt(self.factor)
            best = min(self.scores, key=lambda strength: self.scores[strength])
            sides = (best / self.factor, best * self.factor)
            low, high = self.space.variables[0].low, self.space.variables[0].high
            self.queue = [side for side in sides if low <= side <= high]
        return dict.fromkeys(self.space.names, self.queue.pop(0))

    def tell(self, params: Params, score: float) -> None:
        if len(set(params.values())) == 1:
            self.scores[next(iter(params.values()))] = score
