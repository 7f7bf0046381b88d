"""Anytime traces: the metric of a run's incumbent as a step function of its GPU-hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.typing import ArrayLike

Array = npt.NDArray[np.float64]
KEYS = ["task", "method", "metric", "seed"]


@dataclass(frozen=True)
class Trace:
    """One run's incumbent in one metric, right-continuous."""

    seed: int
    hours: Array
    """`(k,)` non-decreasing GPU-hours at which the incumbent changed."""
    values: Array
    """`(k,)` the metric from then on; NaN where it was measured as not finite."""
    end: float
    """Last moment of a known value: the budget, or the GPU-hours of an unfinished run."""

    @property
    def first(self) -> float:
        """GPU-hours of the first finite value; infinity if there is none."""
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


Traces = dict[tuple[str, str, str], list[Trace]]
"""`(task, method, metric)` to the traces of its runs, in order of seeds."""


def traces(frame: pd.DataFrame, runs: pd.DataFrame) -> Traces:
    """Traces of all runs that have not failed and have delivered something, in every metric that
    the frame has but `score`: reported ones, `param:NAME` and `shown:NAME`."""
    ends = _ends(runs)
    chosen = frame["incumbent"].astype(bool) & (frame["metric"] != "score")
    delivered = frame.loc[chosen, [*KEYS, "gpu_hours", "event", "value"]]
    # Sorted and cut by codes: strings take ten times as long, a pandas group per trace a hundred.
    codes = np.array([pd.factorize(delivered[key], sort=True)[0] for key in KEYS])
    order = np.lexsort((delivered["event"], delivered["gpu_hours"], *codes[::-1]))
    delivered, codes = delivered.iloc[order], codes[:, order]
    first = (np.diff(codes, axis=1, prepend=-1) != 0).any(axis=0).nonzero()[0]
    labels = list(delivered[KEYS].iloc[first].itertuples(index=False, name=None))
    until = [ends.get((task, method, seed)) for task, method, _, seed in labels]
    last = np.append(first, len(delivered))[1:]
    # A run may pass its budget by one primitive step: that still counts as its end.
    latest = np.repeat(np.array(until, dtype=float), last - first)
    hours = np.minimum(delivered["gpu_hours"].to_numpy(float), latest)
    values = delivered["value"].to_numpy(float)
    values = np.where(np.isfinite(values), values, np.nan)
    found: Traces = {}
    for (task, method, metric, seed), end, start, stop in zip(
        labels, until, first, last, strict=True
    ):
        if end is not None:
            trace = Trace(seed, hours[start:stop], values[start:stop], end)
            found.setdefault((task, method, metric), []).append(trace)
    return found


def _ends(runs: pd.DataFrame) -> dict[tuple[str, str, int], float]:
    """End of each run's known values: a finished run keeps its last value until its budget."""
    good = runs[runs["status"] != "failed"]
    keys = zip(good["task"], good["method"], good["seed"], strict=True)
    return {key: float(end) for key, end in zip(keys, known_until(good), strict=True)}


def known_until(runs: pd.DataFrame) -> pd.Series:
    """GPU-hours up to which each run's value is known."""
    return runs["budget"].where(runs["status"] == "finished", runs["gpu_hours"])
