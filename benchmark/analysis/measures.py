"""Tidy numeric tables at full precision: what the tables print and the figures draw.

Every function gives one row per task × method (× what it is about), also for methods whose
runs failed or are missing: their values are NaN and their `n` is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from functools import lru_cache

import numpy as np
import pandas as pd

from benchmark.analysis import statistics, words
from benchmark.analysis.curves import Cost, at_fractions, cost_to_target
from benchmark.runs.clock import WORK
from benchmark.study.model import Study, Task

FRACTIONS = (0.1, 0.25, 0.5, 1.0)
INTERVAL = ("mean", "low", "high")
UNCHARGED = ("evaluation", "checkpoint", "setup", "wall")
"""Ledgers that do not count for the budget, and all of the time."""


def pairs(study: Study) -> Iterator[tuple[Task, str]]:
    """Every task with the methods that run on it, in the suite's order."""
    for task in study.tasks.values():
        for method in task.methods:
            yield task, method


@lru_cache(maxsize=2)
def quality(study: Study) -> pd.DataFrame:
    """Every reported metric at fractions of the budget, over seeds.

    Columns: task, method, metric, fraction, gpu_hours, mean, low, high (95 % Student-t, on
    the log scale for log metrics), n (finite values), runs (all runs).
    """
    rows = []
    for task, method in pairs(study):
        runs = len(task.runs(method))
        for metric in task.metrics:
            values = at_fractions(task.trace(method, metric.name), task.budget, FRACTIONS)
            for fraction in FRACTIONS:
                found = statistics.mean_interval(values[fraction], metric.log)
                key = (task.name, method, metric.name, fraction, fraction * task.budget)
                rows.append((*key, *found.numbers, int(found.n), runs))
    columns = ["task", "method", "metric", "fraction", "gpu_hours", *INTERVAL, "n", "runs"]
    return pd.DataFrame(rows, columns=columns)


@lru_cache(maxsize=2)
def usage(study: Study) -> pd.DataFrame:
    """Work and time of a run, as means over the runs that have not failed (`n` of them).

    Columns: task, method, gpu_hours (charged), evaluation_s, checkpoint_s, setup_s, wall_s,
    peak_memory_mb (the largest of all runs), nfe, train_images, scored_images, trials, reports, n,
    status (how many runs are in which state).
    """
    keys = ["task", "method", "seed"]
    work = study.frame.groupby(keys)[list(WORK)].max()
    events = study.frame.groupby([*keys, "kind"])["trial"].nunique().unstack("kind")
    events = events.reindex(columns=["trial", "report"]).set_axis(["trials", "reports"], axis=1)
    done = work.join(events).fillna(0)
    times = ["gpu_hours", *(f"{ledger}_s" for ledger in UNCHARGED)]
    runs = study.runs.set_index(keys)[["status", *times, "peak_memory_mb"]].join(done)
    runs[done.columns] = runs[done.columns].fillna(0)
    groups = runs[runs["status"] != "failed"].groupby(["task", "method"])
    table = groups[[*times, *done.columns]].mean()
    table = table.assign(peak_memory_mb=groups["peak_memory_mb"].max(), n=groups.size())
    status = runs.groupby(["task", "method"])["status"].agg(words.tally)
    table = table.join(status, how="outer")
    everything = pd.MultiIndex.from_tuples(
        [(task.name, method) for task, method in pairs(study)], names=table.index.names
    )
    table = table.reindex(everything).reset_index()
    return table.fillna({"status": "no run yet", "n": 0}).astype({"n": int})


@lru_cache(maxsize=2)
def targets(study: Study) -> pd.DataFrame:
    """Qualities to reach, fixed before any run: shares of the gain between the stored references.

    Columns: task, target (what it is called), share (of `Design.targets`), value (of the primary
    metric). Tasks without two different references have none.
    """
    rows = []
    for task in study.tasks.values():
        if task.references is None:
            continue
        for share in study.design.targets:
            value = statistics.denormalised(share, *task.references, task.primary.log)
            rows.append((task.name, _target(share), share, value))
    return pd.DataFrame(rows, columns=["task", "target", "share", "value"])


def _target(share: float) -> str:
    named = {0.0: "stored default", 1.0: "stored tuned run"}
    return named.get(share, f"{100 * share:g} % of the gain")


@lru_cache(maxsize=2)
def costs(study: Study) -> pd.DataFrame:
    """GPU-hours until each of `targets`: expected running time over seeds.

    Columns: task, target, value, method, gpu_hours (infinity if no run reached it) with low and
    high (95 % chi-squared), successes, runs, censored (how far the longest run got; see
    `Trace.end`).
    """
    rows = []
    for name, target, _, value in targets(study).itertuples(index=False, name=None):
        for method in study.task(name).methods:
            cost = cost_to_target(study, name, method, value)
            rows.append({"task": name, "target": target, "value": value, "method": method}
                        | asdict(cost))  # fmt: skip
    columns = ["task", "target", "value", "method", *(part.name for part in fields(Cost))]
    return pd.DataFrame(rows, columns=columns)


@lru_cache(maxsize=2)
def gains(study: Study) -> pd.DataFrame:
    """Share of the attainable gain at `FRACTIONS` of the budget: 0 is the task's stored default, 1
    its stored tuned run, on the log scale for log metrics. No run of the study moves either.

    Columns: task, method, fraction, mean, low, high (95 % Student-t), n (finite values), runs.
    Tasks without two different references are left out.
    """
    rows = []
    for task, method in pairs(study):
        for fraction, own in _normalised(task, method, FRACTIONS).items():
            found = statistics.mean_interval(own)
            rows.append((task.name, method, fraction, *found.numbers, int(found.n), len(own)))
    columns = ["task", "method", "fraction", *INTERVAL, "n", "runs"]
    return pd.DataFrame(rows, columns=columns)


@lru_cache(maxsize=2)
def scores(study: Study) -> pd.DataFrame:
    """Normalised score of every run at the end: its share of the attainable gain, as in `gains`.

    Columns: task, method, seed, score. A run that failed or delivered nothing finite scores
    minus infinity: no threshold is reached. Tasks without two different references are left out.
    """
    rows = [
        (task.name, method, seed, score if np.isfinite(score) else -np.inf)
        for task, method in pairs(study)
        for _, own in _normalised(task, method, (1.0,)).items()
        for seed, score in own.items()
    ]
    return pd.DataFrame(rows, columns=["task", "method", "seed", "score"])


def _normalised(task: Task, method: str, fractions: Sequence[float]) -> pd.DataFrame:
    """Shares of the gain by seed and fraction; NaN where nothing finite is known. No fractions
    where the task has no references."""
    if task.references is None:
        return pd.DataFrame()
    values = at_fractions(task.trace(method, task.primary.name), task.budget, fractions)
    values[:] = statistics.normalised(values, *task.references, task.primary.log)
    return values.reindex(sorted(task.runs(method)["seed"]))


def aggregate(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over tasks of a method's mean normalised score.

    Columns: method, mean, low, high (95 % Welch-Satterthwaite, for these tasks), n (finite runs),
    runs, tasks. Only methods with runs on every task of `scores`.
    """
    tasks = scores["task"].nunique()
    rows = []
    for method, own in scores.groupby("method", sort=False):
        by_task = [values for _, values in own.groupby("task", sort=False)["score"]]
        if len(by_task) == tasks:
            found = statistics.mean_of_means(by_task)
            rows.append((method, *found.numbers, int(found.n), len(own), len(by_task)))
    return pd.DataFrame(rows, columns=["method", *INTERVAL, "n", "runs", "tasks"])
