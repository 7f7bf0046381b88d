"""Anytime curves: what a run would have delivered at any moment of its budget.

A run's curve is a step function of the GPU-hours charged: the reported metric of its
incumbent. Fixed budgets cut it vertically, fixed targets horizontally.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from benchmark.analysis import statistics
from benchmark.study.model import Study
from benchmark.study.traces import Array, Trace, known_until


@dataclass(frozen=True)
class Curve:
    """Several seeds on one grid."""

    hours: Array
    """`(g,)` increasing GPU-hours."""
    values: Array
    """`(n, g)`; NaN where a seed's value is not known."""


def align(runs: Sequence[Trace]) -> Curve | None:
    """Seeds on the union of their grids by forward fill, from the latest first report on.

    The grid ends with the longest run. None if no run has a finite value.
    """
    runs = [trace for trace in runs if np.isfinite(trace.first)]
    if not runs:
        return None
    start = max(trace.first for trace in runs)
    moments = [moment for trace in runs for moment in (*trace.hours, trace.end)]
    hours = np.unique([start, *moments])
    hours = hours[hours >= start]
    return Curve(hours, np.array([trace.at(hours) for trace in runs]))


def at_fractions(runs: Sequence[Trace], budget: float, fractions: Sequence[float]) -> pd.DataFrame:
    """Values by seed at fractions of `budget`, a column each; NaN where not known."""
    moments = budget * np.asarray(fractions, dtype=float)
    values = {trace.seed: trace.at(moments) for trace in runs}
    columns = list(fractions)
    return pd.DataFrame.from_dict(values, orient="index", columns=columns, dtype=float)


@dataclass(frozen=True)
class Cost:
    """Expected running time to a target."""

    gpu_hours: float
    """Infinity if no run reached the target, NaN if there are no runs."""
    low: float
    high: float
    """Chi-squared interval; see `statistics.running_time_interval`."""
    successes: int
    runs: int
    censored: float
    """How far the longest run is known: a target that no run reached costs more than this."""


def cost_to_target(study: Study, task: str, method: str, target: float) -> Cost:
    """Expected GPU-hours until the task's primary metric is as good as `target`.

    Runs that failed or delivered nothing count as runs that did not reach it.
    """
    metric = study.task(task).primary
    hits = {
        trace.seed: trace.reaches(target, metric.higher_is_better)
        for trace in study.task(task).trace(method, metric.name)
    }
    runs = study.task(task).runs(method)
    reached = np.array([hits.get(int(seed), np.inf) for seed in runs["seed"]])
    return expected_running_time(reached, runs["gpu_hours"], float(known_until(runs).max()))


def expected_running_time(hits: ArrayLike, spent: ArrayLike, censored: float) -> Cost:
    """Expected running time: the cost of all runs over the number of successes.

    (Hansen et al., 2021, COCO, "average runtime".) `hits` are the GPU-hours until each run
    reached the target, infinity where it never did; such a run costs all it `spent`.
    """
    hits, spent = np.asarray(hits, float), np.asarray(spent, float)
    reached = np.isfinite(hits)
    successes, runs = int(reached.sum()), len(hits)
    if not runs:
        return Cost(np.nan, np.nan, np.nan, 0, 0, censored)
    total = float(np.where(reached, hits, spent).sum())
    found = statistics.running_time_interval(total, successes, runs)
    return Cost(*found.numbers, successes, runs, censored)
