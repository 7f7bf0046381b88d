"""Store the best fixed plan of a task, for the reference method `best-fixed`.

    python -m tasks.make.best_fixed schedule/digits --trials 7 --screening 3 --keep 6
    python -m tasks.make.best_fixed schedule/mnist --trials 7 --screening 2 --keep 4 --workers 2

Trains at every point of a coarse grid with one seed, at the best of them and at the default with
two more, and keeps the lowest mean score on the selection split. `--trials` is the length of a
training in standard trials: about as many as `default` makes in the budget of interest. Where a
grid of such trainings is too dear, `--screening` shortens its first pass; the points kept then
train anew. Seeds are not those of a suite. Nothing is timed, so workers may share a machine.
Scores are kept in `--store`, so that an interrupted search goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from tasks.base import Task
from tasks.make import find
from tasks.make.stored import put, read
from tasks.schedule.plans import PLAN
from tasks.space import Params

AXES = {
    "location": (-1.0, 0.0, 1.0, 2.0),
    "scale": (0.6, 1.0, 1.7),
    "sigma_max": (20.0, 80.0),
}
"""Values to try; other variables are those of the plan of the literature (`PLAN`), wherever the
task starts."""
Point = tuple[tuple[str, float], ...]
"""A setting that can be a key."""
SEEDS = (7001, 7002, 7003)
DRAWS = 4


def points(task: type[Task]) -> list[Params]:
    """The grid."""
    plan = PLAN.space.default if task.space.names == PLAN.space.names else task.space.default
    axes = {name: AXES.get(name, (value,)) for name, value in plan.items()}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


@dataclass(frozen=True)
class Training:
    """One training at a point, of so many standard trials, and its selection score."""

    task: str
    device: str
    params: Point
    trials: float
    seed: int

    @property
    def key(self) -> str:
        """What it is kept under."""
        return f"{self.task} {dict(self.params)} {self.trials:g} {self.seed}"

    def score(self) -> float:
        """The mean over a few draws of samples."""
        task = _task(self.task, self.device)
        (candidate,) = task.iterate(dict(self.params), (self.trials,), self.seed)
        value = statistics.fmean(task.score(candidate, self.seed + draw) for draw in range(DRAWS))
        sys.stderr.write(f"{dict(self.params)} {self.trials:g} {self.seed}: {value:.4g}\n")
        return value


@cache
def _task(name: str, device: str) -> Task:
    torch.set_num_threads(1)
    task = find.task(name)(device)
    task.setup()
    return task


def best(arguments: argparse.Namespace) -> tuple[Params, dict[str, float]]:
    """The best point, with the mean scores of it and of the default setting."""
    kind = find.task(arguments.task)
    grid = [tuple(point.items()) for point in points(kind)]
    default = tuple(kind.space.default.items())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context) as pool:

        def scores(points: Sequence[Point], trials: float, seed: int) -> list[float]:
            trainings = [
                Training(arguments.task, arguments.device, point, trials, seed) for point in points
            ]
            known = read(arguments.store)
            missing = [training for training in trainings if training.key not in known]
            for training, score in zip(missing, pool.map(Training.score, missing), strict=True):
                put(arguments.store, training.key, score)
            return [read(arguments.store)[training.key] for training in trainings]

        screening = arguments.screening or arguments.trials
        screened = scores(grid, screening, SEEDS[0])
        order = [point for _, point in sorted(zip(screened, grid, strict=True))]
        kept = order[: arguments.keep or -(-len(grid) // 4)]
        kept += [default] if default not in kept else []
        rows = [scores(kept, arguments.trials, seed) for seed in SEEDS]
    means = {
        point: statistics.fmean(row)
        for point, row in zip(kept, zip(*rows, strict=True), strict=True)
    }
    chosen = min(means, key=lambda point: means[point])
    return dict(chosen), {"best": means[chosen], "default": means[default]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task")
    parser.add_argument("--trials", type=float, required=True)
    parser.add_argument("--screening", type=float, help="length of the first pass")
    parser.add_argument("--keep", type=int, help="points of the later passes; a quarter")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--into", type=Path, default=Path("methods/best_fixed.json"))
    parser.add_argument("--store", type=Path, default=Path("best_fixed_scores.json"))
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    kind = find.task(arguments.task)
    params, scores = best(arguments)
    command = " ".join(["python", "-m", "tasks.make.best_fixed", *sys.argv[1:]])
    grid = {name: AXES[name] for name in kind.space.names if name in AXES}
    made_by = {"command": command, "grid": grid, "seeds": len(SEEDS), "scores": scores}
    put(arguments.into, arguments.task, {"params": params, "made_by": made_by})


if __name__ == "__main__":
    main()
