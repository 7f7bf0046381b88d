"""Grid search over a separable objective: every class chooses its own strength.

With one strength per class the mean reward is a mean over classes, each a function of its own
strength alone. So one level for all classes scores that level for each of them at once, and a
grid in ten dimensions is ten grids in one dimension at the price of one. This is the fair
competitor of methods that use the classes' own gradients.

Smoothing and `FLOOR` were chosen on `finetune/digits-perclass` with other seeds (10 to 12) than
those of the suites; a level is scored on a trial of the task like any other method's.
"""

from __future__ import annotations

import math
from itertools import chain, islice

import numpy as np

from methods.base import Method, Problem
from methods.grid import refining_grid
from tasks.base import Candidate, Task
from tasks.finetune.base import FinetuneOracles
from tasks.finetune.estimators import moments
from tasks.space import Space, Variable

FLOOR = 0.25
"""Means below this quantile of their class count as that. Guidance that destroys samples scores
so low, and so noisily, that its level would set scale and noise for all the others."""
LENGTHS = (0.1, 0.2, 0.4)
"""Length scales to choose from, as shares of the box on its log scale."""
NOISES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Noise variances to choose from, in units of the signal's."""
POINTS = np.linspace(0, 1, 201)
"""Where a smoothed mean is looked at."""


class GridByClass(Method):
    """Refining grid of one level for all classes, each choosing by its own smoothed mean.

    The default's level is the first one. `fidelity` is the samples per level, all classes
    together, in units of the task's standard trial. Without `smooth`, or within the first pass,
    a class takes the best level seen.
    """

    name = "grid-by-class"
    group = "grid"
    citation = "Rasmussen & Williams, 2006"
    uses = "mean r1 of each class"
    libraries = ("sklearn.model_selection",)

    def __init__(self, levels: int = 5, fidelity: float = 1.0, smooth: bool = True) -> None:
        if levels < 2 or not fidelity > 0:
            raise ValueError(f"need levels >= 2 and fidelity > 0, got {levels} and {fidelity}")
        self.levels, self.fidelity, self.smooth = levels, fidelity, smooth

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "finetune" and all(
            name.startswith("lambda_") for name in task.space.names
        )

    def run(self, problem: Problem) -> None:
        task, space = problem.oracles, problem.space
        assert isinstance(task, FinetuneOracles)
        count = max(round(self.fidelity * task.samples), len(space))
        means: list[list[float]] = (problem.restored or {"means": []})["means"]
        line = Space((Variable("level", 0.0, 1.0, 0.5),))
        order = np.random.default_rng(problem.seed("order"))
        grid = refining_grid(line, self.levels, order)
        first = float(space.to_unit(space.default).mean())
        tried = chain([first], (point["level"] for point in grid))
        levels = list(islice(tried, len(means)))  # of a restored run
        for level in tried:
            problem.checkpoint({"means": means})
            shared = space.from_unit(np.full(len(space), level))
            rewards = task.guided(shared, count, problem.seed("guided", len(means)))
            by_class = moments(rewards.upper, rewards.lower, rewards.group, len(space)).upper
            means.append(by_class.tolist())
            levels.append(level)
            chosen = self.chosen(np.array(levels), np.array(means))
            problem.report(Candidate(space.from_unit(chosen)))

    def chosen(self, levels: np.ndarray, means: np.ndarray) -> np.ndarray:
        """The best position `(classes,)` of each column of `means` `(levels, classes)`."""
        points = levels
        if self.smooth and len(levels) >= self.levels:
            floor = np.quantile(means, FLOOR, axis=0)
            points, means = POINTS, smoothed(levels, np.maximum(means, floor), POINTS)
        best: np.ndarray = points[means.argmax(axis=0)]
        return best


def smoothed(levels: np.ndarray, means: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Gaussian-process mean `(points, classes)` of `means` `(levels, classes)`.

    The classes share a Matern-5/2 kernel and a noise, the likeliest of a few.
    """
    return max(
        (fitted(levels, means, points, length, noise) for length in LENGTHS for noise in NOISES),
        key=lambda fit: fit[0],
    )[1]


def fitted(
    levels: np.ndarray, means: np.ndarray, points: np.ndarray, length: float, noise: float
) -> tuple[float, np.ndarray]:
    """Log likelihood up to a constant, scales profiled out, and the mean at `points`."""
    centre = means.mean(axis=0)
    factor = np.linalg.cholesky(matern(levels, levels, length) + noise * np.eye(len(levels)))
    white = np.linalg.solve(factor, means - centre)
    scale = np.maximum((white**2).mean(axis=0), 1e-300)
    likelihood = (
        -0.5 * len(levels) * np.log(scale).sum() - means.shape[1] * np.log(np.diag(factor)).sum()
    )
    weights = np.linalg.solve(factor.T, white)
    return float(likelihood), centre + matern(points, levels, length) @ weights


def matern(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    """Matern-5/2 correlations."""
    d = math.sqrt(5) * np.abs(a[:, None] - b) / length
    correlation: np.ndarray = (1 + d + d**2 / 3) * np.exp(-d)
    return correlation
