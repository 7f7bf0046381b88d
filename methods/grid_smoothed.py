"""Grid search with its noisy scores smoothed before the best point is chosen."""

import itertools
import warnings

import numpy as np

from methods.base import Method, Problem
from methods.grid import refining_grid
from tasks.base import Candidate, Task


class SmoothedGrid(Method):
    """Grid search that delivers the scored point with the best Gaussian-process mean.

    The default is scored first. A `shifted` grid lies anywhere, so that no point of it is on an
    optimum by the luck of round numbers.

    Only where a candidate is its parameters alone (fine-tuning): a network trained in an
    earlier trial is not kept.
    """

    name = "grid-smoothed"
    group = "grid"
    citation = "Rasmussen & Williams, 2006"
    libraries = ("sklearn.model_selection", "sklearn.gaussian_process")

    def __init__(self, levels: int = 5, fidelity: float = 1.0, shifted: bool = False) -> None:
        if levels < 2 or not fidelity > 0:
            raise ValueError(f"need levels >= 2 and fidelity > 0, got {levels} and {fidelity}")
        self.levels = levels
        self.shifted = shifted
        self.fidelity = fidelity

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "finetune"

    def run(self, problem: Problem) -> None:
        scored: list[tuple[np.ndarray, float]] = []
        grid = refining_grid(problem.space, self.levels, problem.rng, self.shifted)
        for params in itertools.chain([problem.space.default], grid):
            score = problem.evaluate(params, self.fidelity, deliver=False)
            scored.append((problem.space.to_unit(params), score))
            problem.report(Candidate(problem.space.from_unit(smoothed_best(scored))))


def smoothed_best(scored: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """The scored point with the lowest posterior mean; the lowest score while under 4 points."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    points = np.array([point for point, _ in scored])
    scores = np.array([score for _, score in scored])
    usable = np.isfinite(scores)
    if usable.sum() < 4:
        best: np.ndarray = points[np.argmin(scores)]
        return best
    kernel = Matern(0.3, (0.05, 3.0), nu=2.5) + WhiteKernel(0.1, (1e-4, 1.0))
    process = GaussianProcessRegressor(kernel, normalize_y=True)
    with warnings.catch_warnings():  # a length scale at its bound is an answer like any other
        warnings.simplefilter("ignore", ConvergenceWarning)
        mean = process.fit(points[usable], scores[usable]).predict(points[usable])
    best = points[usable][np.argmin(mean)]
    return best
