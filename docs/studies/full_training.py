"""What a full training of a schedule task is: the length from which a doubling gains under 5 %.

    python docs/studies/full_training.py schedule/digits 1100 2200 4400 8800 17600
    python docs/studies/full_training.py schedule/mnist 1500 3000 6000 12000

Trains the default plan anew for every number of steps, because the learning rate decays over the
whole of a training, with the same seeds at all lengths. Printed are geometric means over the seeds
of the primary metric and of the mean over the unseen spaces, and what the doubling up to a length
has gained in the primary one, with its 95 % Student-t interval of paired log ratios. Trainings are
kept in `--store`, so that an interrupted study goes on where it was. Seeds are of no suite.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from benchmark import registry
from tasks.make.stored import kept
from tasks.schedule.base import ScheduleTask

FIRST_SEED, EVALUATION_SEED = 6001, 17


def measured(task: ScheduleTask, steps: int, seed: int) -> dict[str, float]:
    """Metrics of the default plan trained for so many steps, and the processor seconds it took."""
    started = time.process_time()
    (candidate,) = task.iterate(task.space.default, (steps / task.trial_steps,), seed)
    seconds = time.process_time() - started
    return task.evaluate(candidate, EVALUATION_SEED) | {"seconds": seconds}


def gain(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """Share by which the geometric mean falls from `before` to `after` `(n,)`, and its interval."""
    ratios = np.log(after / before)
    half = stats.t.ppf(0.975, len(ratios) - 1) * stats.sem(ratios)
    return tuple(float(1 - np.exp(ratios.mean() + x)) for x in (0.0, half, -half))


def table(task: ScheduleTask, rows: dict[int, list[dict[str, float]]]) -> str:
    """The study of one task in Markdown; `rows` are the metrics of every seed, by steps."""
    primary = task.metrics[0].name
    lines = [
        f"| {task.name}, steps | seconds | {primary} | panel | gain of the doubling | interval |",
        "|---" * 6 + "|",
    ]
    for steps, row in rows.items():
        seconds = np.median([cell["seconds"] for cell in row])
        values = {name: np.array([cell[name] for cell in row]) for name in (primary, "panel")}
        cells = [str(steps), f"{seconds:.0f}", *(f"{stats.gmean(x):.3g}" for x in values.values())]
        if steps % 2 == 0 and steps // 2 in rows:
            before = np.array([cell[primary] for cell in rows[steps // 2]])
            middle, low, high = gain(before, values[primary])
            cells += [f"{middle:.1%}", f"{low:.0%} to {high:.0%}"]
        else:
            cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task")
    parser.add_argument("steps", type=int, nargs="+", help="each twice the one before")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", type=Path, default=Path("full_training.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kind = registry.task(arguments.task)
    assert issubclass(kind, ScheduleTask)
    task = kind()
    task.setup()
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    rows = {
        steps: [
            kept(arguments.store, f"{task.name} {steps} {seed}",
                 partial(measured, task, steps, seed))
            for seed in seeds
        ]
        for steps in arguments.steps
    }  # fmt: skip
    print(table(task, rows))


if __name__ == "__main__":
    main()
