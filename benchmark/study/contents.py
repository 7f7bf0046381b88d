"""What a `Results` holds: its tasks, methods, metrics and budgets, in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from benchmark.study.results import Results

SECONDS_PER_HOUR = 3600.0
METHODS = (
    "default", "best-fixed", "grid", "grid-smoothed", "random", "sobol", "optuna-tpe", "optuna-gp",
    "optuna-cmaes", "skopt-gp", "successive-halving", "hyperband", "sampling-search",
    "search-then-tune", "grid-by-class", "weighted-sum", "spsa-crn", "bilevel-paper", "bilevel",
)  # fmt: skip
"""The order in which tables and figures list the methods they know."""


@dataclass(frozen=True)
class Metric:
    """A reported metric as the results describe it."""

    name: str
    label: str
    higher_is_better: bool = False
    log: bool = False

    @property
    def direction(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    @property
    def title(self) -> str:
        return f"{self.label} {self.direction}"


@dataclass(frozen=True)
class Unit:
    """How device time is shown: `hours * per_hour` of `name` (s, min or h)."""

    name: str
    per_hour: float
    device: str

    @property
    def label(self) -> str:
        """For example `device time (s)`."""
        return f"{self.device} time ({self.name})"


def task_names(results: Results) -> list[str]:
    return list(results.tasks)


def method_names(results: Results) -> list[str]:
    """Labels in the order of `METHODS`, then by name, whether they have runs or not.

    A label that is a variant of a known method stands behind it.
    """

    def place(label: str) -> tuple[int, str]:
        known = label if label in METHODS else results.methods[label].get("name", label)
        return METHODS.index(known) if known in METHODS else len(METHODS), label

    return sorted(results.methods, key=place)


def methods_on(results: Results, task: str) -> list[str]:
    """The methods with a run on the task, and those that were asked for and have none yet, in the
    order of `method_names`."""
    begun = set(runs_of(results, task)["method"])
    return [
        label
        for label in method_names(results)
        if label in begun or (task, label) in results.planned
    ]


def is_rival(results: Results, label: str) -> bool:
    """Whether the method competes: no oracle, no hindsight (`methods.base.Method.ranked`)."""
    return bool(results.methods.get(label, {}).get("ranked", True))


NOT_RANKED = "not ranked"
"""Said of a method that is no rival, wherever one is shown."""
WHY_NOT_RANKED = "an oracle that uses hindsight, or a method that solves another lower level"


def rivals(results: Results) -> list[str]:
    """The methods that compete, in the order of `method_names`."""
    return [label for label in method_names(results) if is_rival(results, label)]


def metrics(results: Results, task: str) -> list[Metric]:
    """The task's reported metrics, the primary one first."""
    return [
        Metric(
            name=entry["name"],
            label=entry.get("label", entry["name"]),
            higher_is_better=entry.get("higher_is_better", False),
            log=entry.get("log", False),
        )
        for entry in results.tasks[task]["metrics"]
    ]


def primary(results: Results, task: str) -> Metric:
    return metrics(results, task)[0]


def references(results: Results, task: str) -> tuple[float, float] | None:
    """The task's stored `default` and `tuned` values of the primary metric; None if there are
    none, or if tuning gained nothing."""
    stored = results.tasks[task].get("references") or {}
    name = primary(results, task).name
    if not {"default", "tuned"} <= set(stored) or any(name not in stored[key] for key in stored):
        return None
    default, tuned = stored["default"][name], stored["tuned"][name]
    return None if default == tuned else (default, tuned)


def confirmation(results: Results, task: str) -> Metric | None:
    """The metric that measures the same as the primary one in other features, if there is one:
    it is called like it with a 2 behind (`fid2` of `fid`)."""
    wanted = f"{primary(results, task).name}2"
    return next((metric for metric in metrics(results, task) if metric.name == wanted), None)


def evaluator(results: Results, task: str) -> str:
    """The evaluator's identity in words: sample sizes, feature networks and their hashes."""
    identity = results.tasks[task].get("evaluator") or {}
    parts: list[tuple[str, object]] = []
    for name, value in identity.items():
        parts += value.items() if isinstance(value, dict) else [(name, value)]
    return ", ".join(f"{name} {value}" for name, value in parts) or "not stated"


def landscape(results: Results, task: str) -> dict[str, Any] | None:
    """The task's stored landscape, if there is one by the evaluator of the runs.

    The number of samples may differ: more of them only make a smoother curve.
    """
    stored: dict[str, Any] | None = results.tasks[task].get("landscape")
    if stored is None:
        return None
    identity = results.tasks[task].get("evaluator") or {}
    same = all(
        stored["evaluator"].get(name) == value
        for name, value in identity.items()
        if name != "samples"
    )
    return stored if same else None


def runs_of(results: Results, task: str, method: str | None = None) -> pd.DataFrame:
    """Rows of `runs`, failed ones included."""
    return _parts(results).get((task, method), results.runs.iloc[:0])


@lru_cache(maxsize=2)
def _parts(results: Results) -> dict[tuple[str, str | None], pd.DataFrame]:
    """The rows of `runs` by task (and None), and by task and method."""
    found: dict[tuple[str, str | None], pd.DataFrame] = {}
    for task, rows in results.runs.groupby("task", sort=False):
        found[str(task), None] = rows
        for method, own in rows.groupby("method", sort=False):
            found[str(task), str(method)] = own
    return found


def events_of(results: Results, task: str, method: str, seed: int) -> pd.DataFrame:
    """Rows of `frame` of one run."""
    rows: pd.DataFrame = results.frame.iloc[_places(results).get((task, method, seed), [])]
    return rows


@lru_cache(maxsize=2)
def _places(results: Results) -> dict[Any, Any]:
    """Positions of each run's rows: asking every row whose it is takes long where runs are many."""
    return results.frame.groupby(["task", "method", "seed"], sort=False).indices


def budget(results: Results, task: str) -> float:
    """The largest budget of the task's runs in GPU-hours; NaN when there are none."""
    return float(runs_of(results, task)["budget"].max())


@lru_cache(maxsize=64)
def unit(results: Results, task: str) -> Unit:
    """Seconds for budgets under two minutes, minutes under two hours, else hours."""
    runs = runs_of(results, task)
    on_gpu = runs["device"].astype(str).str.startswith("cuda").any()
    device = "GPU" if on_gpu else "device"
    seconds = budget(results, task) * SECONDS_PER_HOUR
    if np.isnan(seconds) or seconds >= 2 * SECONDS_PER_HOUR:
        return Unit("h", 1.0, device)
    if seconds < 120:
        return Unit("s", SECONDS_PER_HOUR, device)
    return Unit("min", 60.0, device)
