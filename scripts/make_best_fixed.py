"""Store the best fixed schedule of a task, for the oracle row `best-fixed`.

    python scripts/make_best_fixed.py schedule/digits --trials 4.5

Trains at every point of a coarse grid with one seed, at the best quarter with two more, and keeps
the lowest mean score on the selection split. `--trials` is the length of a training in standard
trials: about as many as `default` makes in the budget of interest. Seeds are not those of a suite.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys

import torch

from benchmark import registry
from methods.best_fixed import STORED
from tasks.base import Task
from tasks.space import Params

AXES = {
    "width": (0.7, 0.8, 0.9, 1.0),
    "start": (0.0, 0.1, 0.2),
    "tau": (0.3, 0.5, 0.7, 1.0, 1.5),
}
"""Values to try; other variables stay at their defaults."""
SEEDS = (7001, 7002, 7003)
DRAWS = 4


def points(task: type[Task]) -> list[Params]:
    """The grid."""
    axes = {name: AXES.get(name, (value,)) for name, value in task.space.default.items()}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def score(task: Task, params: Params, trials: float, seed: int) -> float:
    """Selection score of one training, the mean over a few draws of samples."""
    (candidate,) = task.iterate(params, (trials,), seed)
    value = statistics.fmean(task.score(candidate, seed + draw) for draw in range(DRAWS))
    sys.stderr.write(f"{params} {seed}: {value:.4g}\n")
    return value


def best(task: Task, trials: float) -> tuple[Params, dict[str, float]]:
    """The best point, with the mean scores of it and of the default setting."""
    grid = points(type(task))
    scores = [[score(task, point, trials, SEEDS[0])] for point in grid]
    order = sorted(range(len(grid)), key=lambda i: scores[i][0])
    kept = order[: -(-len(grid) // 4)]
    compared = {*kept, grid.index(task.space.default)}
    for i in compared:
        scores[i] += [score(task, grid[i], trials, seed) for seed in SEEDS[1:]]
    means = {i: statistics.fmean(scores[i]) for i in compared}
    chosen = min(means, key=lambda i: means[i])
    default = means[grid.index(task.space.default)]
    return grid[chosen], {"best": means[chosen], "default": default}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("--trials", type=float, required=True)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = registry.task(arguments.task)(arguments.device)
    task.setup()
    params, scores = best(task, arguments.trials)
    command = f"python scripts/make_best_fixed.py {arguments.task} --trials {arguments.trials:g}"
    grid = {name: AXES[name] for name in task.space.names if name in AXES}
    made_by = {"command": command, "grid": grid, "seeds": len(SEEDS), "scores": scores}
    content = json.loads(STORED.read_text()) if STORED.exists() else {}
    content[arguments.task] = {"params": params, "made_by": made_by}
    STORED.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
