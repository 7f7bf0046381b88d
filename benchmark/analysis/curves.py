"""Anytime curves: what a run would have delivered at any moment of its budget.

A run's curve is a step function of the GPU-hours charged: the reported metric of its
incumbent. Fixed budgets cut it vertically, fixed targets horizontally.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.typing import ArrayLike

from benchmark.analysis import statistics
from benchmark.study import contents
from benchmark.study.results import Results

Array = npt.NDArray[np.float64]
VARIABLES = ("param:", "shown:")
"""Prefixes of what a candidate is, beside the metrics of what it does."""


@dataclass(frozen=True)
class Trace:
    """One run's incumbent in one metric, right-continuous."""

    seed: int
    hours: Array
    """`(k,)` non-decreasing GPU-hours at which the incumbent changed."""
    values: Array
    """`(k,)` the metric from then on; NaN where it was measured as not finite."""
    end: float
    """Last moment at which the value is known: the budget, or where an unfinished run is."""

    @property
    def first(self) -> float:
        """When the first finite value was there; infinity if never."""
        known = np.isfinite(self.values)
        return float(self.hours[known][0]) if known.any() else float("inf")

    def at(self, hours: ArrayLike) -> Array:
        """The value at each of `hours`; NaN before the first report and after `end`."""
        moments = np.asarray(hours, dtype=float)
        position = self.hours.searchsorted(moments, side="right") - 1
        known = (position >= 0) & (moments <= self.end)
        return np.where(known, self.values[position], np.nan)

    def reaches(self, target: float, higher_is_better: bool) -> float:
        """GPU-hours until the value is first as good as `target`; infinity if never."""
        good = self.values >= target if higher_is_better else self.values <= target
        return float(self.hours[good][0]) if good.any() else float("inf")


class Traces(dict[tuple[str, str, str], list[Trace]]):
    """`(task, method, metric)` to the traces of its runs, in order of seeds.

    Compared by identity, so that what follows from them can be cached.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]

    def of(self, task: str, method: str, metric: str) -> list[Trace]:
        return self.get((task, method, metric), [])


@lru_cache(maxsize=2)
def traces(results: Results) -> Traces:
    """Traces of all runs that have not failed and have delivered something."""
    metric = results.frame["metric"]
    return _traces(results, ~metric.str.startswith(VARIABLES) & (metric != "score"))


@lru_cache(maxsize=2)
def variable_traces(results: Results) -> Traces:
    """The same of what was delivered: its `param:NAME` and `shown:NAME`."""
    return _traces(results, results.frame["metric"].str.startswith(VARIABLES))


def _traces(results: Results, chosen: pd.Series) -> Traces:
    ends = _ends(results.runs)
    frame = results.frame
    chosen = chosen & frame["incumbent"].astype(bool)
    keys = ["task", "method", "metric", "seed"]
    delivered = frame.loc[chosen, [*keys, "gpu_hours", "event", "value"]]
    # Sorted and cut by codes: strings take ten times as long, a pandas group per trace a hundred.
    codes = np.array([pd.factorize(delivered[key], sort=True)[0] for key in keys])
    order = np.lexsort((delivered["event"], delivered["gpu_hours"], *codes[::-1]))
    delivered, codes = delivered.iloc[order], codes[:, order]
    first = (np.diff(codes, axis=1, prepend=-1) != 0).any(axis=0).nonzero()[0]
    labels = list(delivered[keys].iloc[first].itertuples(index=False, name=None))
    until = [ends.get((task, method, seed)) for task, method, _, seed in labels]
    last = np.append(first, len(delivered))[1:]
    # A run may pass its budget by one primitive step: that still counts as its end.
    latest = np.repeat(np.array(until, dtype=float), last - first)
    hours = np.minimum(delivered["gpu_hours"].to_numpy(float), latest)
    values = delivered["value"].to_numpy(float)
    values = np.where(np.isfinite(values), values, np.nan)
    found = Traces()
    for (task, method, metric, seed), end, start, stop in zip(
        labels, until, first, last, strict=True
    ):
        if end is not None:
            trace = Trace(seed, hours[start:stop], values[start:stop], end)
            found.setdefault((task, method, metric), []).append(trace)
    return found


def _ends(runs: pd.DataFrame) -> dict[tuple[str, str, int], float]:
    """Until when each run's value is known: a finished run holds its last until its budget."""
    good = runs[runs["status"] != "failed"]
    keys = zip(good["task"], good["method"], good["seed"], strict=True)
    return {key: float(end) for key, end in zip(keys, _known_until(good), strict=True)}


def _known_until(runs: pd.DataFrame) -> pd.Series:
    return runs["budget"].where(runs["status"] == "finished", runs["gpu_hours"])


@dataclass(frozen=True)
class Curve:
    """Several seeds on one grid."""

    hours: Array
    """`(g,)` increasing GPU-hours."""
    values: Array
    """`(n, g)`; NaN where a seed's value is not known."""
    seeds: tuple[int, ...]


def align(runs: Sequence[Trace]) -> Curve | None:
    """Seeds on the union of their grids by forward fill, from the latest first report on.

    The grid ends with the longest run. None if no run has a finite value.
    """
    runs = [trace for trace in runs if np.isfinite(trace.first)]
    if not runs:
        return None
    start = max(trace.first for trace in runs)
    moments = np.concatenate([trace.hours for trace in runs])
    ends = [trace.end for trace in runs]
    hours = np.unique(np.concatenate([[start], moments, ends]))
    hours = hours[hours >= start]
    return Curve(hours, _at(runs, hours), tuple(trace.seed for trace in runs))


def at_fractions(runs: Sequence[Trace], budget: float, fractions: Sequence[float]) -> Array:
    """`(n, len(fractions))` values at increasing fractions of `budget`; NaN where not known."""
    return _at(runs, budget * np.asarray(fractions, dtype=float))


def _at(runs: Sequence[Trace], moments: Array) -> Array:
    """`Trace.at` of all runs at once, `(n, len(moments))`, for increasing `moments`."""
    if not runs:
        return np.empty((0, len(moments)))
    lengths = [len(trace.hours) for trace in runs]
    hours = np.concatenate([trace.hours for trace in runs])
    values = np.concatenate([trace.values for trace in runs], dtype=float)
    ends = np.array([trace.end for trace in runs])
    columns = len(moments) + 1  # the last is for what comes after all moments
    place = np.repeat(np.arange(len(runs)) * columns, lengths) + moments.searchsorted(hours)
    changes = np.bincount(place, minlength=len(runs) * columns).reshape(len(runs), columns)
    reached = changes[:, :-1].cumsum(axis=1)
    known = (reached > 0) & (moments <= ends[:, None])
    reached += np.cumsum([0, *lengths[:-1]])[:, None] - 1  # in place: thousands of runs are large
    found: Array = values[reached]
    found[~known] = np.nan
    return found


@dataclass(frozen=True)
class Cost:
    """Expected running time to a target."""

    hours: float
    """Infinity if no run reached the target, NaN if there are no runs."""
    low: float
    high: float
    """Chi-squared interval; see `statistics.running_time_interval`."""
    successes: int
    runs: int
    censored: float
    """How far the longest run is known: a target that no run reached costs more than this."""


def cost_to_target(results: Results, found: Traces, task: str, method: str, target: float) -> Cost:
    """Expected GPU-hours until the task's primary metric is as good as `target`.

    Runs that failed or delivered nothing count as runs that did not reach it.
    """
    metric = contents.primary(results, task)
    hits = {
        trace.seed: trace.reaches(target, metric.higher_is_better)
        for trace in found.of(task, method, metric.name)
    }
    runs = contents.runs_of(results, task, method)
    reached = np.array([hits.get(int(seed), np.inf) for seed in runs["seed"]])
    return expected_running_time(reached, runs["gpu_hours"], float(_known_until(runs).max()))


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
    return Cost(float(found.value), float(found.low), float(found.high), successes, runs, censored)
