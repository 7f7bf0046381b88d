"""Generated run folders, as large and as many as a measurement needs."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[1] / "study/data/quick/runs/schedule/digits/random/0"
TASKS = tuple(f"schedule/digits-{letter}" for letter in "abcde")
METHODS = (
    "default",
    "grid",
    "random",
    "sobol",
    "optuna-tpe",
    "optuna-gp",
    "optuna-cmaes",
    "skopt-gp",
    "spsa-crn",
    "bilevel",
)


def write(suite: Path, runs: int, events: int) -> None:
    """`runs` finished runs of five tasks by ten methods with `events` trials each, in `suite`.

    One run has one task and one method. The records are those of a stored run, with other
    numbers; about one trial in `log(events)` improves.
    """
    for number in range(runs):
        task = TASKS[number % len(TASKS)]
        method = METHODS[number // len(TASKS) % len(METHODS)]
        seed = number // (len(TASKS) * len(METHODS))
        spec = {"suite": suite.name, "task": task, "label": method, "seed": seed}
        spec["results"] = str(suite.parent)
        write_run(suite / "runs" / task / method / str(seed), spec, events, number)


def write_run(folder: Path, spec: dict[str, Any], events: int, number: int) -> None:
    """A finished run of `spec`, the `number`-th one."""
    description, (start, trial, end), samples = _template()
    (folder / "artifacts").mkdir(parents=True)
    described = description | {"spec": description["spec"] | spec}
    described["method"] = description["method"] | {"name": spec["label"]}
    (folder / "run.json").write_text(json.dumps(described, indent=1) + "\n")
    (folder / ".lock").touch()
    (folder / "artifacts" / "samples-000001.png").write_bytes(samples)
    log = [start, *_trials(trial, events, seed=number), end]
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


@cache
def _template() -> tuple[dict[str, Any], tuple[Any, Any, Any], bytes]:
    """Description, first, second and last record, and samples of a stored run."""
    lines = [json.loads(line) for line in (TEMPLATE / "events.jsonl").open()]
    samples = next((TEMPLATE / "artifacts").iterdir()).read_bytes()
    return json.loads((TEMPLATE / "run.json").read_text()), (lines[0], lines[1], lines[-1]), samples


def _trials(template: dict[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    """Trials at even distances over the budget of the template's run, scores of a search."""
    rng = random.Random(seed)
    best = math.inf
    trials = []
    for index in range(1, count + 1):
        score = rng.gauss(0, 1)
        clock = json.loads(json.dumps(template["clock"]))
        clock["ledgers"]["method"] = 5.4 * index / count
        clock["work"]["nfe"] = 12_500 * index
        record = template | {"trial": index, "params": {"lambda": rng.lognormvariate(0, 1)}}
        record |= {"score": score, "incumbent": score < best, "clock": clock}
        best = min(best, score)
        values = {name: value - score / 10 for name, value in template["metrics"].items()}
        record["metrics"] = values if record["incumbent"] else None
        trials.append(record)
    return trials
