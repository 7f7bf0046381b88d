"""Synthetic results: plausible curves with known parameters, for tests of what is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmark import registry
from benchmark.runs.design import Design
from benchmark.runs.provenance import describe_method
from benchmark.study.frame import COLUMNS, RUN_COLUMNS
from benchmark.study.model import Study

KNOWN = (
    "default", "grid", "grid-smoothed", "random", "sobol", "optuna-tpe", "optuna-gp",
    "optuna-cmaes", "skopt-gp", "successive-halving", "hyperband", "bilevel-paper", "bilevel",
    "weighted-sum",
)  # fmt: skip
SINGLE_RUN = {"default", "bilevel", "bilevel-paper", "weighted-sum"}
FID = {"name": "fid", "label": "FID", "higher_is_better": False, "log": True}
REWARD = {"name": "r1", "label": "E[r1]", "higher_is_better": True, "log": False}
RECALL = {"name": "recall", "label": "recall", "higher_is_better": True, "log": False}

TASKS: dict[str, dict[str, Any]] = {
    "schedule/digits": {
        "family": "schedule",
        "metrics": [FID, {**FID, "name": "fid2", "label": "FID, 2nd net"}, RECALL],
        "variables": [
            {"name": "end", "low": 0.6, "high": 1.0, "default": 1.0, "log": False},
            {"name": "tau", "low": 0.3, "high": 4.0, "default": 1.0, "log": True},
            {"name": "epsilon", "low": 0.001, "high": 0.1, "default": 0.01, "log": True},
        ],
        "budget": 60 / 3600,
    },
    "finetune/digits": {
        "family": "finetune",
        "metrics": [REWARD, {**RECALL, "name": "r2", "label": "E[r2]"}, FID],
        "variables": [{"name": "lambda", "low": 0.01, "high": 100, "default": 1, "log": True}],
        "budget": 20 / 3600,
    },
    "schedule/mnist": {
        "family": "schedule",
        "metrics": [FID, RECALL],
        "variables": [
            {"name": "end", "low": 0.6, "high": 1.0, "default": 1.0, "log": False},
            {"name": "tau", "low": 0.3, "high": 4.0, "default": 1.0, "log": True},
        ],
        "budget": 0.25,
    },
    "finetune/mnist-per-class": {
        "family": "finetune",
        "metrics": [REWARD],
        "variables": [
            {"name": f"lambda_{c}", "low": 0.01, "high": 100, "default": 1, "log": True}
            for c in range(10)
        ],
        "budget": 3.0,
    },
    "schedule/cifar10": {
        "family": "schedule",
        "metrics": [FID],
        "variables": [{"name": "end", "low": 0.6, "high": 1.0, "default": 1.0, "log": False}],
        "budget": 12.0,
    },
    "finetune/third": {
        "family": "finetune",
        "metrics": [REWARD],
        "variables": [{"name": "lambda", "low": 0.01, "high": 100, "default": 1, "log": True}],
        "budget": 1.0,
    },
}


def samples(path: Path, rng: np.random.Generator, tile: int = 8, count: int = 32) -> None:
    rows = count // 8
    grid = rng.integers(0, 256, (rows * tile, 8 * tile), dtype=np.uint8)
    Image.fromarray(grid).save(path)


def run_events(
    task: str, method: str, seed: int, events: int, rng: np.random.Generator, budget: float
) -> list[dict[str, Any]]:
    """One run: quality falls like a power of the budget towards a method's own floor."""
    spec = TASKS[task]
    single = method in SINGLE_RUN
    skill = 0.5 + sum(map(ord, method)) % 17 / 17 + 0.1 * rng.normal()
    skill *= 0.5 if method == "bilevel" else 1.0
    rows, best = [], np.inf
    moments = np.sort(rng.uniform(0.02, 1.0, events)) * budget
    for event, hours in enumerate(moments):
        share = hours / budget
        loss = 0.4 * (0.4 + skill) * (1 + 0.3 / share**0.7) * np.exp(0.1 * rng.normal())
        incumbent = single or loss < best
        best = min(best, loss)
        common = {
            "suite": "synthetic", "task": task, "method": method, "seed": seed, "event": event,
            "kind": "report" if single else "trial", "trial": event,
            "fidelity": np.nan if single else 1.0, "gpu_hours": hours, "budget": budget,
            "nfe": int(1e5 * share), "train_images": int(5e4 * share),
            "scored_images": int(1e4 * share), "incumbent": incumbent,
        }  # fmt: skip
        values = {"score": loss}
        for variable in spec["variables"]:
            low, high = variable["low"], variable["high"]
            position = rng.uniform()
            if single:
                position = 0.7 - 0.4 * share ** (0.5 + 0.2 * seed) + 0.01 * rng.normal()
            values[f"param:{variable['name']}"] = (
                low * (high / low) ** position if variable["log"] else low + position * (high - low)
            )
        if incumbent:
            for metric in spec["metrics"]:
                noisy = loss * np.exp(0.05 * rng.normal())
                values[metric["name"]] = 1 - noisy if metric["higher_is_better"] else noisy
        rows += [{**common, "metric": name, "value": value} for name, value in values.items()]
    return rows


def run_record(
    task: str, method: str, seed: int, rng: np.random.Generator, budget: float, image: str | None
) -> dict[str, Any]:
    seconds = budget * 3600
    shares = rng.dirichlet([5, 3, 1, 0.4])
    if method.startswith("optuna") or method == "skopt-gp":
        shares = np.array([0.5, 0.2, 0.1, 0.2])
    first = "train step" if TASKS[task]["family"] == "schedule" else "guided step"
    names = (first, "denoising step", "score", "overhead")
    parts = {name: seconds * share for name, share in zip(names, shares, strict=True)}
    ledgers = {
        "setup_s": 1.5, "method_s": seconds, "evaluation_s": 0.2 * seconds, "checkpoint_s": 0.1
    }  # fmt: skip
    return {
        "suite": "synthetic", "task": task, "method": method, "seed": seed, "status": "finished",
        "reason": "budget", "budget": budget, "gpu_hours": budget, **ledgers,
        "wall_s": sum(ledgers.values()),
        "breakdown": json.dumps(parts), "device": "cpu", "clock": "device",
        "peak_memory_mb": 400.0, "samples": image, "tile": 8,
    }  # fmt: skip


def build(
    folder: Path,
    tasks: int = 2,
    methods: Sequence[str] = ("default", "random", "bilevel"),
    seeds: int = 3,
    events: int = 20,
    images: bool = False,
) -> Study:
    """All methods on the first `tasks` of `TASKS`, with `seeds` finished runs each."""
    names = list(TASKS)[:tasks]
    frame: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    folder.mkdir(parents=True, exist_ok=True)
    for task in names:
        for method in methods:
            for seed in range(seeds):
                rng = np.random.default_rng([seed, *f"{task} {method}".encode()])
                image = None
                if images:
                    name = f"{task}-{method}-{seed}.png".replace("/", "-")
                    image = str(folder / name)
                    samples(Path(image), rng)
                budget = TASKS[task]["budget"]
                frame += run_events(task, method, seed, events, rng, budget)
                runs.append(run_record(task, method, seed, rng, budget, image))
    known = registry.all_methods()
    described = {
        label: {"group": "", "place": 1000, "ranked": True}
        | (describe_method(known[label]) if label in known else {})
        | {"name": label, "description": label, "citation": "", "uses": "scores", "options": {}}
        for label in methods
    }
    return Study(
        name="synthetic",
        folder=folder,
        frame=pd.DataFrame(frame, columns=list(COLUMNS)),
        runs=pd.DataFrame(runs, columns=list(RUN_COLUMNS)),
        task_facts={name: TASKS[name] | {"landscape": None} for name in names},
        method_facts=described,
        design=Design(focus="bilevel"),
    )
