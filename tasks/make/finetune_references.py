"""Store references of fine-tuning tasks that no method has set: a dense scan, and its optimum.

    python -m tasks.make.finetune_references mnist14 [digits fashion14 gaussian]

One draw of many images at each of `POINTS` strengths serves all tasks of a data set. Smoothing
splines through each class's mean of r1 and r2 over log lambda give the objective of any vector of
strengths, which is maximised; the default and that optimum are then evaluated on fresh images.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import BSpline, make_smoothing_spline
from scipy.optimize import minimize

from tasks.base import REFERENCES, Candidate
from tasks.finetune.base import FinetuneTask
from tasks.finetune.digits import FinetuneDigits, FinetuneDigitsPerClass
from tasks.finetune.fashion import FinetuneFashion, FinetuneFashionPerClass
from tasks.finetune.gaussian import FinetuneGaussian, FinetuneGaussianPerClass
from tasks.finetune.latent import LatentTask
from tasks.finetune.mnist import FinetuneMnist, FinetuneMnistCoupled, FinetuneMnistPerClass
from tasks.space import Params

TASKS: dict[str, tuple[type[LatentTask], ...]] = {
    "digits": (FinetuneDigits, FinetuneDigitsPerClass),
    "mnist14": (FinetuneMnist, FinetuneMnistPerClass, FinetuneMnistCoupled),
    "fashion14": (FinetuneFashion, FinetuneFashionPerClass),
}
LOWEST, HIGHEST, POINTS = 0.2, 20.0, 24
"""Strengths of the scan; an optimum at either end is an error."""
SAMPLES = 4000
"""Images per strength, all classes together."""
EVALUATION = 10_000
SCAN_SEED, EVALUATION_SEED = 101, 102
STARTS = 8

Curves = list[tuple[BSpline, BSpline]]
"""E[r1] and E[r2] of each class over log lambda."""


def scan(kinds: Sequence[type[LatentTask]]) -> list[tuple[LatentTask, Curves]]:
    """The curves of all classes, for every task of one data set, from the same images."""
    tasks = [kind() for kind in kinds]
    for task in tasks:
        task.setup()
    grid = np.geomspace(LOWEST, HIGHEST, POINTS)
    means = np.zeros((len(tasks), 2, tasks[0].groups, POINTS))
    for point, strength in enumerate(grid):
        images, labels, _ = tasks[0].draw(
            dict.fromkeys(tasks[0].space.names, float(strength)), SAMPLES, SCAN_SEED
        )
        for row, task in enumerate(tasks):
            rewards = task.rate(images, labels)
            for label in range(task.groups):
                member = labels == label
                means[row, 0, label, point] = rewards.upper[member].mean()
                means[row, 1, label, point] = rewards.lower[member].mean()
    return [
        (task, [tuple(make_smoothing_spline(np.log(grid), y) for y in part) for part in curves])
        for task, curves in zip(tasks, means.swapaxes(1, 2), strict=True)
    ]


def optimum(task: LatentTask, curves: Curves) -> Params:
    """Strengths that maximise the task's objective on `curves`."""
    size = len(task.space)

    def loss(position: np.ndarray) -> float:
        each = np.broadcast_to(position, len(curves))
        upper = np.mean([up(x) for (up, _), x in zip(curves, each, strict=True)])
        if not isinstance(task, FinetuneMnistCoupled):
            return -float(upper)
        ink = np.mean([low(x) for (_, low), x in zip(curves, each, strict=True)])
        return -float(upper - task.scarcity * (ink - task.supply) ** 2)

    ends = (np.log(LOWEST), np.log(HIGHEST))
    starts = np.random.default_rng(0).uniform(np.log(0.5), np.log(5.0), (STARTS, size))
    found = [minimize(loss, start, bounds=[ends] * size) for start in starts]
    best = min(found, key=lambda result: float(result.fun)).x
    if np.any(np.isclose(best, ends[0])) or (size == 1 and np.isclose(best[0], ends[1])):
        raise ArithmeticError(f"{task.name}: the optimum is at the end of the scan: {np.exp(best)}")
    return dict(zip(task.space.names, np.exp(best).tolist(), strict=True))


def store(task: FinetuneTask, tuned: Params, **made_by: object) -> None:
    """Evaluate the default and `tuned`, and put both into the file of references."""
    scores = {
        name: task.evaluate(Candidate(params), EVALUATION_SEED)
        for name, params in (("default", task.space.default), ("tuned", tuned))
    }
    found = {name: round(value, 4) for name, value in tuned.items()}
    content = json.loads(REFERENCES.read_text())
    content[task.name] = {"scores": scores, "made_by": made_by | {"params": found}}
    REFERENCES.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    print(task.name, json.dumps(content[task.name]), flush=True)


def main(datasets: Sequence[str]) -> None:
    torch.set_num_threads(1)
    for dataset in datasets:
        command = f"python -m tasks.make.finetune_references {dataset}"
        if dataset == "gaussian":
            gaussian, several = FinetuneGaussian(), FinetuneGaussianPerClass()
            best = [3 / (target + 1 / 6) - 1 for target in several.upper_targets]
            store(gaussian, {"lambda": 0.8}, command=command, optimum="closed form")
            store(
                several, dict(zip(several.space.names, best, strict=True)),
                command=command, optimum="closed form",
            )  # fmt: skip
            continue
        for task, curves in scan(TASKS[dataset]):
            tuned = optimum(task, curves)
            task.evaluation_samples = EVALUATION  # type: ignore[misc]
            store(
                task, tuned, command=command, evaluated_on=EVALUATION,
                scan=f"{POINTS} strengths from {LOWEST} to {HIGHEST}, {SAMPLES} images each",
            )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
