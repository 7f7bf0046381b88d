"""One method against another on the same seeds: who leads, by how much, and how sure that is.

A run that failed, or delivered nothing finite, counts as infinitely bad; a distance of exactly 0
as infinitely good. Only seeds on which both runs have ended enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.analysis import comparison
from benchmark.analysis.curves import at_fractions
from benchmark.analysis.statistics import Array, mean_interval, on_scale
from benchmark.runs.design import LEVEL
from benchmark.study.model import Metric, Task

ENDED = ("finished", "failed")

BETTER, WORSE, TIED, UNDECIDED, MISSING = "better", "worse", "tied", "undecided", "missing"
CONFIRMED, ABSENT, CONTRADICTED = "confirmed", "absent", "contradicted"


@dataclass(frozen=True)
class Lead:
    """The evidence of common seeds on one method against another."""

    n: int
    """Seeds on which both runs have ended."""
    wins: int
    """Seeds on which the method is better."""
    failed: int
    """Seeds on which the method's run failed or delivered nothing finite."""
    failed_other: int
    effect: float
    """Ratio of geometric means for metrics on a log scale, else difference of means, over the
    seeds on which both delivered; method against other, on the metric's own scale. Distances of 0
    enter it only where there are no others: the ratio is then 0, or infinity."""
    low: float
    """95 % Student-t interval of the effect."""
    high: float
    lead: float
    """The effect relative to the other method, positive where the method is better."""
    slack: float
    """Distance of the far end of the interval from no effect, relative as `lead`."""
    ahead: int
    """1 where the method is better on average with failures counted, -1 where it is worse."""
    p: float
    """Exact two-sided sign-flip test."""

    def outcome(self, p: float, smallest: float, confirmed: str) -> str:
        """`better`, `worse`, `tied`, `undecided` or `missing`, by a corrected `p`, the smallest
        relative effect of interest, and what a second measure `confirms`. Tied: the whole 95 %
        interval is below that effect. A lead that the second measure denies is undecided."""
        if not self.n:
            return MISSING
        level = self.failed == self.failed_other
        if level and self.slack < smallest:
            return TIED
        matters = not level or abs(self.lead) >= smallest
        if not (p < LEVEL and matters and self.ahead):
            return UNDECIDED
        if self.ahead < 0:
            return WORSE
        return BETTER if confirmed in ("", CONFIRMED) else UNDECIDED

    def confirms(self, smallest: float) -> str:
        """What this lead in a second measure makes of one in the first: `confirmed`, `absent`
        (below the smallest effect), `contradicted`, or nothing where there is no second measure."""
        if not self.n:
            return ""
        small = self.failed == self.failed_other and not abs(self.lead) >= smallest
        if small or not self.ahead:
            return ABSENT
        return CONFIRMED if self.ahead > 0 else CONTRADICTED


def ends(task: Task, label: str, metric: Metric) -> pd.Series:
    """The metric at the end of the budget by seed, over the runs of a method that have ended; NaN
    where a run failed or delivered nothing finite."""
    runs = task.runs(label)
    ended = runs["status"].isin(ENDED) & (runs["budget"] >= task.budget)
    known = at_fractions(task.trace(label, metric.name), task.budget, (1.0,))[1.0]
    found: pd.Series = known.reindex(sorted(runs.loc[ended, "seed"]))
    return found


def losses(values: pd.Series, metric: Metric) -> pd.Series:
    """Values on the metric's own scale, lower is better; infinity where there is none."""
    scaled = on_scale(values.to_numpy(dtype=float), metric.log)
    signed = -scaled if metric.higher_is_better else scaled
    return pd.Series(np.where(np.isnan(scaled), np.inf, signed), index=values.index)


def compare(first: pd.Series, second: pd.Series, metric: Metric) -> Lead:
    """The lead of one method over another, each given by its `ends`."""
    common = first.index.intersection(second.index)
    x, y = first[common], second[common]
    better, worse = losses(x, metric).to_numpy(), losses(y, metric).to_numpy()
    level = better == worse  # also where both are infinite
    d = np.where(level, 0.0, np.where(level, 0.0, worse) - np.where(level, 0.0, better))
    failed, failed_other = np.isposinf(better), np.isposinf(worse)
    known = ~failed & ~failed_other
    effect = _effect(d[known], metric)
    none = 1.0 if metric.log else 0.0
    size = 1.0 if metric.log else abs(float(y[known].mean())) if known.any() else np.nan
    sign = 1 if metric.higher_is_better else -1
    with np.errstate(divide="ignore", invalid="ignore"):
        lead, *slack = (np.divide(end - none, size) if end != none else 0.0 for end in effect)
    return Lead(
        n=len(common),
        wins=int((d > 0).sum()),
        failed=int(failed.sum()),
        failed_other=int(failed_other.sum()),
        effect=effect[0],
        low=effect[1],
        high=effect[2],
        lead=float(sign * lead),
        slack=float(np.max(np.abs(slack))),
        ahead=int(np.sign(comparison.bounded(d).sum())),
        p=comparison.sign_flip(d),
    )


def _effect(d: Array, metric: Metric) -> tuple[float, float, float]:
    """Effect with its interval, from the leads on single seeds."""
    sign = 1.0 if metric.higher_is_better else -1.0
    finite = d[np.isfinite(d)]
    if len(d) and not len(finite):
        ends = [sign * float(np.sign(d).sum()) * np.inf, np.nan, np.nan]
    else:
        value, *interval = (sign * end for end in mean_interval(finite).numbers)
        ends = [value, *sorted(interval)]
    value, low, high = (float(np.exp(end)) if metric.log else end for end in ends)
    return value, low, high


def failures(task: Task) -> Mapping[str, tuple[int, int]]:
    """Methods of which a run failed or delivered nothing finite: how many of the ended ones."""
    found = {label: ends(task, label, task.primary) for label in task.methods}
    counts = {label: (int(values.isna().sum()), len(values)) for label, values in found.items()}
    return {label: count for label, count in counts.items() if count[0]}
