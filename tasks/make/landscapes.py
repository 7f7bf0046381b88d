"""Store the landscape of fine-tuning tasks: every metric, and a few samples, along the strength.

    python -m tasks.make.landscapes finetune/digits finetune/digits-perclass
    python -m tasks.make.landscapes finetune/mnist --samples 10000 --device cuda

Tasks with one strength per class are walked along their diagonal, all strengths alike. All
points share one seed. `tasks/landscapes/NAME.json` holds the points and how they were made,
`NAME.png` the samples: rows are seeds, columns are strengths, tiles without padding.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import Any

import numpy as np
import torch
from PIL import Image

from tasks.base import LANDSCAPES, Candidate, Task
from tasks.make import find

POINTS = 19
"""Points from one end of the strength's range to the other; every third is in the strip."""
SHOWN_EVERY = 3
ROWS = 7
TILE = 64
"""Samples with more pixels a side are stored smaller."""
SEED = 0


def strengths(task: Task) -> list[float]:
    """A log grid over the range that all variables share."""
    variable = task.space.variables[0]
    return [float(f"{x:.6g}") for x in np.geomspace(variable.low, variable.high, POINTS)]


def at(task: Task, strength: float) -> Candidate:
    """The candidate with every variable at `strength`."""
    return Candidate({variable.name: strength for variable in task.space.variables})


def points(task: Task) -> list[dict[str, float]]:
    """All metrics at every strength, to six digits."""
    found = []
    for strength in strengths(task):
        metrics = task.evaluate(at(task, strength), SEED)
        found.append({"lambda": strength} | {k: float(f"{v:.6g}") for k, v in metrics.items()})
        print(task.name, found[-1], flush=True)
    return found


def strip(task: Task, shown: list[float]) -> np.ndarray | None:
    """One column of `ROWS` samples per strength, from the same noise; None without images."""
    columns = [task.images(at(task, strength), ROWS, SEED) for strength in shown]
    drawn = [np.concatenate(list(column)) for column in columns if column is not None]
    return np.concatenate(drawn, axis=1) if drawn else None


def picture(sheet: np.ndarray) -> Image.Image:
    """The sheet of `ROWS` square tiles below each other, at most `TILE` pixels each."""
    image = Image.fromarray(sheet)
    side = sheet.shape[0] // ROWS
    size = (sheet.shape[1] // side * TILE, ROWS * TILE)
    return image.resize(size, Image.Resampling.BOX) if side > TILE else image


def landscape(task: Task) -> tuple[dict[str, Any], np.ndarray | None]:
    """The content of the landscape's file, and its strip of samples."""
    found = points(task)
    shown = strengths(task)[::SHOWN_EVERY]
    sheet = strip(task, shown)
    content = {
        "task": task.name,
        "seed": SEED,
        "evaluator": task.evaluator(),
        "made_by": {
            "command": shlex.join(["python", "-m", "tasks.make.landscapes", *sys.argv[1:]]),
            "torch": torch.__version__,
            "device": task.device,
        },
        "points": found,
        "strip": None if sheet is None else {"lambdas": shown, "rows": ROWS},
    }
    return content, sheet


def main() -> None:
    """Make and store the landscapes of the tasks named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--samples", type=int, help="per point; default: what the task reports on")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    LANDSCAPES.mkdir(exist_ok=True)
    for name in options.tasks:
        kind = find.task(name)
        if options.samples is not None:
            kind = type(kind.__name__, (kind,), {"evaluation_samples": options.samples})
        task = kind(options.device)
        task.setup()
        content, sheet = landscape(task)
        stem = name.replace("/", "-")
        (LANDSCAPES / f"{stem}.json").write_text(json.dumps(content, indent=1) + "\n")
        if sheet is not None:
            picture(sheet).save(LANDSCAPES / f"{stem}.png", optimize=True)


if __name__ == "__main__":
    main()
