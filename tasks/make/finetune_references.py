"""Store references of fine-tuning tasks that no method has set: a dense scan, and its optimum.

    python -m tasks.make.finetune_references mnist14 [digits fashion14 gaussian]
    python -m tasks.make.finetune_references mnist14 --check

One draw of many images at each of `POINTS` strengths serves all tasks of a data set. Smoothing
splines through each class's mean of r1 and r2 over log lambda give the objective of any vector of
strengths, which is maximised; the default and that optimum are then evaluated on fresh images.
Measured strengths are kept in `--store`, so that an interrupted scan goes on. `--check`
evaluates what is stored on a few fresh images and makes nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tasks.base import REFERENCES, Candidate
from tasks.finetune.base import FinetuneTask
from tasks.finetune.digits import FinetuneDigits, FinetuneDigitsPerClass
from tasks.finetune.fashion import FinetuneFashion, FinetuneFashionPerClass
from tasks.finetune.gaussian import FinetuneGaussian, FinetuneGaussianPerClass
from tasks.finetune.latent import LatentTask
from tasks.finetune.mnist import FinetuneMnist, FinetuneMnistCoupled, FinetuneMnistPerClass
from tasks.make.stored import kept, put
from tasks.space import Params

if TYPE_CHECKING:  # every command looks for tasks in this module, and SciPy takes long to import
    from scipy.interpolate import BSpline

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
SCAN_SEED, EVALUATION_SEED, CHECK_SEED = 101, 102, 103
AGREEMENT = (0.8, 1.2)
"""Shares of the stored gain between which a check's has to lie."""
STARTS = 8

Curves = list[tuple["BSpline", "BSpline"]]
"""E[r1] and E[r2] of each class over log lambda."""


def scan(kinds: Sequence[type[LatentTask]], store: Path) -> list[tuple[LatentTask, Curves]]:
    """The curves of all classes, for every task of one data set, from the same images."""
    from scipy.interpolate import make_smoothing_spline

    tasks = [kind() for kind in kinds]
    for task in tasks:
        task.setup()
    grid = np.geomspace(LOWEST, HIGHEST, POINTS)
    each = [
        kept(store, f"{tasks[0].dataset} {x:.6g}", partial(means, tasks, float(x))) for x in grid
    ]
    found = np.stack(each, axis=-1)  # (tasks, classes, rewards, strengths)
    return [
        (task, [tuple(make_smoothing_spline(np.log(grid), y) for y in part) for part in curves])
        for task, curves in zip(tasks, found, strict=True)
    ]


def means(tasks: Sequence[LatentTask], strength: float) -> list[list[tuple[float, float]]]:
    """Means of r1 and r2, for every task and class, of images drawn at one strength."""
    images, labels, _ = tasks[0].draw(
        dict.fromkeys(tasks[0].space.names, strength), SAMPLES, SCAN_SEED
    )
    found = []
    for task in tasks:
        rewards = task.rate(images, labels)
        members = [labels == label for label in range(task.groups)]
        found.append(
            [(rewards.upper[m].mean().item(), rewards.lower[m].mean().item()) for m in members]
        )
    return found


def optimum(task: LatentTask, curves: Curves) -> Params:
    """Strengths that maximise the task's objective on `curves`."""
    from scipy.optimize import minimize

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
    entry = {"scores": scores, "made_by": made_by | {"params": found}}
    put(REFERENCES, task.name, entry)
    print(task.name, json.dumps(entry), flush=True)


def gain(task: FinetuneTask, tuned: Params, seed: int) -> float:
    """By how much E[r1] is higher at `tuned` than at the default."""
    reached = (task.evaluate(Candidate(x), seed)["reward"] for x in (tuned, task.space.default))
    return next(reached) - next(reached)


def check(task: FinetuneTask) -> None:
    """Print the gain on fresh images as a share of the stored one. Raises SystemExit where it is
    outside `AGREEMENT`."""
    task.setup()
    entry = json.loads(REFERENCES.read_text())[task.name]
    stored = entry["scores"]["tuned"]["reward"] - entry["scores"]["default"]["reward"]
    share = gain(task, entry["made_by"]["params"], CHECK_SEED) / stored
    print(f"{task.name}: {share:.3f} of the stored gain", flush=True)
    if not AGREEMENT[0] <= share <= AGREEMENT[1]:
        raise SystemExit(f"{task.name}: the stored references do not hold; make them anew")


def make_gaussian(command: str) -> None:
    gaussian, several = FinetuneGaussian(), FinetuneGaussianPerClass()
    best = [3 / (target + 1 / 6) - 1 for target in several.upper_targets]
    store(gaussian, {"lambda": 0.8}, command=command, optimum="closed form")
    per_class = dict(zip(several.space.names, best, strict=True))
    store(several, per_class, command=command, optimum="closed form")


def make(dataset: str, scans: Path, command: str) -> None:
    """Scan the tasks of one data set and store their references."""
    for task, curves in scan(TASKS[dataset], scans):
        tuned = optimum(task, curves)
        task.evaluation_samples = EVALUATION  # type: ignore[misc]
        store(
            task, tuned, command=command, evaluated_on=EVALUATION,
            scan=f"{POINTS} strengths from {LOWEST} to {HIGHEST}, {SAMPLES} images each",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("datasets", nargs="+", choices=[*TASKS, "gaussian"])
    parser.add_argument("--store", type=Path, default=Path("finetune_scan.json"))
    parser.add_argument("--check", action="store_true", help="check what is stored, make nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for dataset in arguments.datasets:
        if arguments.check:
            for kind in TASKS.get(dataset, (FinetuneGaussian, FinetuneGaussianPerClass)):
                check(kind())
            continue
        command = f"python -m tasks.make.finetune_references {dataset}"
        if dataset == "gaussian":
            make_gaussian(command)
        else:
            make(dataset, arguments.store, command)


if __name__ == "__main__":
    main()
