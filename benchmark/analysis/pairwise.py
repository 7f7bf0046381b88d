"""Every method against every other on each task: paired over seeds, corrected for all pairs.

Runs of one seed share their trials' seeds across methods (docs/protocol.md), so differences
are taken seed by seed.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd

from benchmark.analysis import comparison
from benchmark.analysis.curves import at_fractions
from benchmark.study.model import Metric, Study
from benchmark.study.traces import Array

FRACTIONS = (0.25, 0.5, 1.0)
LEVEL = 0.05
"""Error probability of all claims of one task, metric and fraction together."""
ENOUGH = 5
"""Seeds from which on a claim of "better" is made."""
COLUMNS = [
    "task", "metric", "fraction", "method", "other", "effect", "low", "high", "p", "p_holm",
    "pairs", "n", "wins", "better",
]  # fmt: skip


@lru_cache(maxsize=2)
def compare(study: Study) -> pd.DataFrame:
    """Paired comparisons of all ranked methods in every reported metric at `FRACTIONS`.

    Both orders of every pair, columns: task, metric, fraction, method, other, effect (method
    minus other, or their ratio for metrics on a log scale) with low and high (95 % Student-t,
    paired over seeds), p, p_holm (over all `pairs` of the same task, metric and fraction), n
    (seeds that both have), wins (seeds on which `method` is better), better (`method` is better
    by p_holm < 0.05 from 5 seeds on). Oracles and methods that use hindsight are not ranked.
    """
    parts = [
        _pairs(study, task, metric) for task in study.tasks for metric in study.task(task).metrics
    ]
    rows = [row for part in parts for row in part]
    return pd.DataFrame(rows, columns=COLUMNS)


@lru_cache(maxsize=2)
def improvements(study: Study) -> pd.DataFrame:
    """Probability that a run of `method` ends better than one of `other`, in the primary metric.

    Both orders of every pair of ranked methods, columns: task, method, other, probability, low,
    high (95 %, Newcombe), n, m (runs of the two).
    """
    rows = []
    for task in study.tasks:
        metric = study.task(task).primary
        ends = {
            method: values[:, -1]
            for method, values in seed_values(study, task, metric.name).items()
        }
        for method, other in combinations(ends, 2):
            chance = comparison.improvement(ends[method], ends[other], metric.higher_is_better)
            n, m = chance.n
            for first, second, value, low, high, sizes in (
                (method, other, chance.value, chance.low, chance.high, (n, m)),
                (other, method, 1 - chance.value, 1 - chance.high, 1 - chance.low, (m, n)),
            ):
                rows.append((task, first, second, value, low, high, *sizes))
    columns = ["task", "method", "other", "probability", "low", "high", "n", "m"]
    return pd.DataFrame(rows, columns=columns)


def seed_values(study: Study, task: str, metric: str) -> dict[str, Array]:
    """`(seeds, FRACTIONS)` values of every ranked method that has any, one row per seed."""
    seeds = sorted(study.task(task).runs()["seed"].unique())
    rows = {seed: row for row, seed in enumerate(seeds)}
    budget = study.task(task).budget
    values = {}
    for method in study.ranked:
        traces = study.task(task).trace(method, metric)
        table = np.full((len(seeds), len(FRACTIONS)), np.nan)
        table[[rows[trace.seed] for trace in traces]] = at_fractions(traces, budget, FRACTIONS)
        if np.isfinite(table).any():
            values[method] = table
    return values


def _pairs(study: Study, task: str, metric: Metric) -> list[dict[str, object]]:
    values = seed_values(study, task, metric.name)
    pairs = list(combinations(values, 2))
    if not pairs:
        return []
    first = np.stack([values[method] for method, _ in pairs], axis=1)
    second = np.stack([values[other] for _, other in pairs], axis=1)
    found_ = comparison.paired(first, second, metric.log)
    corrected = np.stack([comparison.holm(column) for column in found_.p.T], axis=1)
    sign = 1 if metric.higher_is_better else -1
    wins = (sign * (first - second) > 0).sum(axis=0)
    losses = (sign * (first - second) < 0).sum(axis=0)
    rows: list[dict[str, object]] = []
    for row, (method, other) in enumerate(pairs):
        for column, fraction in enumerate(FRACTIONS):
            place = row, column
            common = {
                "task": task, "metric": metric.name, "fraction": fraction,
                "p": found_.p[place], "p_holm": corrected[place],
                "pairs": int(np.isfinite(found_.p[:, column]).sum()), "n": int(found_.n[place]),
            }  # fmt: skip
            effect = found_.value[place], found_.low[place], found_.high[place]
            certain = common["n"] >= ENOUGH and corrected[place] < LEVEL
            ahead = sign * (effect[0] - (1.0 if metric.log else 0.0)) > 0
            rows += [
                common | {"method": method, "other": other, "wins": int(wins[place])}
                | dict(zip(("effect", "low", "high"), effect, strict=True))
                | {"better": bool(certain and ahead)},
                common | {"method": other, "other": method, "wins": int(losses[place])}
                | dict(zip(("effect", "low", "high"), _turned(effect, metric.log), strict=True))
                | {"better": bool(certain and not ahead)},
            ]  # fmt: skip
    return rows


def _turned(effect: tuple[float, float, float], log: bool) -> tuple[float, float, float]:
    """The effect with its interval, seen from the other method."""
    value, low, high = effect
    return (1 / value, 1 / high, 1 / low) if log else (-value, -high, -low)
