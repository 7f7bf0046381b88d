"""Store references of schedule tasks that no entrant sets: the default plan and the best fixed one.

    python -m tasks.make.schedule_references schedule/digits --trials 7

The best fixed plan is the one that `tasks.make.best_fixed` stored. Each plan is trained with three
new seeds for `--trials` standard trials; stored are the medians of all reported metrics. Trainings
are kept in `--store`, so that an interrupted maker goes on where it was.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from pathlib import Path

import torch

from tasks.base import REFERENCES, Task
from tasks.make import find
from tasks.make.stored import kept, put, read
from tasks.space import Params

BEST_FIXED = Path("methods/best_fixed.json")
SEEDS = (7101, 7102, 7103)
"""Of no suite, and not those that chose the best fixed plan."""
EVALUATION_SEED = 7104


def trained(task: Task, params: Params, trials: float, seed: int) -> dict[str, float]:
    """Metrics after one training at `params`."""
    (candidate,) = task.iterate(params, (trials,), seed)
    return task.evaluate(candidate, EVALUATION_SEED)


def medians(task: Task, params: Params, trials: float, store: Path) -> dict[str, float]:
    """Medians over `SEEDS` of the metrics after one training each."""
    rows = [
        kept(store, f"{task.name} {params} {trials:g} {seed}",
             partial(trained, task, params, trials, seed))
        for seed in SEEDS
    ]  # fmt: skip
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task")
    parser.add_argument("--trials", type=float, required=True, help="length of a training")
    parser.add_argument("--store", type=Path, default=Path("schedule_references.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = find.task(arguments.task)()
    known = read(BEST_FIXED)
    if task.name not in known:
        parser.error(f"first run python -m tasks.make.best_fixed {task.name}")
    task.setup()
    plans = {"default": task.space.default, "tuned": known[task.name]["params"]}
    scores = {
        name: medians(task, params, arguments.trials, arguments.store)
        for name, params in plans.items()
    }
    command = f"python -m tasks.make.schedule_references {task.name} --trials {arguments.trials:g}"
    made_by = {"command": command, "seeds": len(SEEDS), "params": plans["tuned"]}
    put(REFERENCES, task.name, {"scores": scores, "made_by": made_by})
    print(task.name, scores, flush=True)


if __name__ == "__main__":
    main()
