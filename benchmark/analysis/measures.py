"""Tidy numeric tables at full precision: what the tables print and the figures draw.

Every function gives one row per task × method (× what it is about), also for methods whose
runs failed or are missing: their values are NaN and their `n` is 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from benchmark.analysis import statistics
from benchmark.analysis.curves import at_fractions, cost_to_target
from benchmark.study.model import Study, Task

FRACTIONS = (0.1, 0.25, 0.5, 1.0)
COST_COLUMNS = [
    "task", "target", "value", "method", "gpu_hours", "low", "high", "successes", "runs",
    "censored",
]  # fmt: skip
KINDS = {
    "training": ("train_step", "loss", "loss_gradient", "update"),
    "sampling": ("denoise", "guided_denoise", "denoise_forward", "decode"),
    "scoring": ("reward", "frechet"),
    "gradients through samples": ("denoise_backward", "objective_backward"),
    "optimiser overhead": ("overhead", "trial"),
}
"""Kinds of work by primitive operation; what is not listed is a kind of its own."""
LEDGERS = ("method", "evaluation", "checkpoint", "setup", "wall")


def pairs(study: Study) -> Iterator[tuple[str, str]]:
    """Every task with the methods that run on it, in the suite's order."""
    for task in study.tasks:
        for method in study.task(task).methods:
            yield task, method


@lru_cache(maxsize=2)
def quality(study: Study) -> pd.DataFrame:
    """Every reported metric at fractions of the budget, over seeds.

    Columns: task, method, metric, fraction, gpu_hours, mean, low, high (95 % Student-t, on
    the log scale for log metrics), median with median_low and median_high (order statistics,
    from 6 runs on), iqm with iqm_low and iqm_high (Tukey-McLaughlin, from 4 runs on, on the
    scale of the mean), n (finite values), runs (all runs).
    """
    columns = ["task", "method", "metric", "fraction", "gpu_hours", "mean", "low", "high"]
    columns += ["median", "median_low", "median_high", "iqm", "iqm_low", "iqm_high", "n", "runs"]
    rows = []
    for name, method in pairs(study):
        task = study.task(name)
        runs = len(task.runs(method))
        for metric in task.metrics:
            values = at_fractions(task.trace(method, metric.name), task.budget, FRACTIONS)
            for fraction, own in zip(FRACTIONS, values.T, strict=True):
                mean = statistics.mean_interval(own, metric.log)
                middle = statistics.median_interval(own)
                core = statistics.iqm_interval(own, metric.log)
                numbers = [
                    float(end) for x in (mean, middle, core) for end in (x.value, x.low, x.high)
                ]
                key = (name, method, metric.name, fraction, fraction * task.budget)
                rows.append((*key, *numbers, int(mean.n), runs))
    return pd.DataFrame(rows, columns=columns)


@lru_cache(maxsize=2)
def usage(study: Study) -> pd.DataFrame:
    """Work done, as means over the runs that have not failed (`n` of them).

    Columns: task, method, gpu_hours, nfe, train_images, scored_images, trials, reports, n,
    status (how many runs are in which state).
    """
    keys = ["task", "method", "seed"]
    work = study.frame.groupby(keys)[["nfe", "train_images", "scored_images"]].max()
    numbers = study.frame.groupby([*keys, "kind"])["trial"].nunique().unstack("kind")
    numbers = numbers.reindex(columns=["trial", "report"])
    counts = numbers.rename(columns={"trial": "trials", "report": "reports"})
    per_run = study.runs.set_index(keys)[["status", "gpu_hours"]]
    per_run = per_run.join(work).join(counts)
    columns = ["nfe", "train_images", "scored_images", "trials", "reports"]
    per_run[columns] = per_run[columns].fillna(0)
    healthy = per_run[per_run["status"] != "failed"].drop(columns="status")
    groups = healthy.groupby(["task", "method"])
    means = groups.mean().join(groups.size().rename("n"))
    states = study.runs.groupby(["task", "method"])["status"].agg(_states)
    table = means.join(states, how="outer").reindex(_index(study)).reset_index()
    table["n"] = table["n"].fillna(0).astype(int)
    table["status"] = table["status"].fillna("no run yet")
    return table


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
            times = (cost.hours, cost.low, cost.high)
            rows.append(
                (name, target, value, method, *times, cost.successes, cost.runs, cost.censored)
            )
    return pd.DataFrame(rows, columns=COST_COLUMNS)


@lru_cache(maxsize=2)
def gains(study: Study) -> pd.DataFrame:
    """Share of the attainable gain at `FRACTIONS` of the budget: 0 is the task's stored default, 1
    its stored tuned run, on the log scale for log metrics. No run of the study moves either.

    Columns: task, method, fraction, mean, low, high (95 % Student-t), n (finite values), runs.
    Tasks without two different references are left out.
    """
    rows = []
    for task in study.tasks.values():
        for method in task.methods if task.references else ():
            own = _normalised(task, method, FRACTIONS)
            found = statistics.mean_interval(own)
            numbers = np.transpose([found.value, found.low, found.high])
            rows += [
                (task.name, method, fraction, *numbers[place], int(found.n[place]), len(own))
                for place, fraction in enumerate(FRACTIONS)
            ]
    columns = ["task", "method", "fraction", "mean", "low", "high", "n", "runs"]
    return pd.DataFrame(rows, columns=columns)


@lru_cache(maxsize=2)
def scores(study: Study) -> pd.DataFrame:
    """Normalised score of every run at the end: its share of the attainable gain, as in `gains`.

    Columns: task, method, seed, score. A run that failed or delivered nothing finite scores
    minus infinity: no threshold is reached. Tasks without two different references are left out.
    """
    rows = [
        (task.name, method, seed, score if np.isfinite(score) else -np.inf)
        for task in study.tasks.values()
        if task.references
        for method in task.methods
        for seed, score in _normalised(task, method, (1.0,))[1.0].items()
    ]
    return pd.DataFrame(rows, columns=["task", "method", "seed", "score"])


def _normalised(task: Task, method: str, fractions: Sequence[float]) -> pd.DataFrame:
    """Shares of the gain by seed and fraction; NaN where nothing finite is known."""
    assert task.references is not None
    traces = task.trace(method, task.primary.name)
    values = at_fractions(traces, task.budget, fractions)
    shares = statistics.normalised(values, *task.references, task.primary.log)
    seeds = [trace.seed for trace in traces]
    known = pd.DataFrame(shares, index=seeds, columns=list(fractions))
    return known.reindex(sorted(task.runs(method)["seed"]))


def profile(scores: pd.DataFrame, thresholds: ArrayLike) -> pd.DataFrame:
    """Performance profile: share of a method's runs with a score above each threshold.

    (Agarwal et al., NeurIPS 2021, "run-score distribution".) Columns: method, threshold, share,
    low, high (95 % Wilson), n (runs), tasks. Only methods with runs on every task of `scores`:
    the others' shares would be over other tasks.
    """
    columns = ["method", "threshold", "share", "low", "high", "n", "tasks"]
    tasks = set(scores["task"])
    limits = np.asarray(thresholds, dtype=float)
    rows = []
    for method, own in scores.groupby("method", sort=False):
        if set(own["task"]) == tasks:
            above = (own["score"].to_numpy() > limits[:, None]).sum(axis=1)
            share = statistics.share_interval(above, len(own))
            rows += [
                (method, *numbers, len(own), len(tasks))
                for numbers in zip(limits, share.value, share.low, share.high, strict=True)
            ]
    return pd.DataFrame(rows, columns=columns)


def aggregate(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over tasks of a method's mean normalised score.

    Columns: method, mean, low, high (95 % Welch-Satterthwaite, for these tasks), n (finite runs),
    runs, tasks. Only methods with runs on every task of `scores`.
    """
    columns = ["method", "mean", "low", "high", "n", "runs", "tasks"]
    tasks = list(dict.fromkeys(scores["task"]))
    rows = []
    for method, own in scores.groupby("method", sort=False):
        if set(own["task"]) == set(tasks):
            found = statistics.mean_of_means([own[own["task"] == t]["score"] for t in tasks])
            ends = (float(found.value), float(found.low), float(found.high))
            rows.append((method, *ends, int(found.n), len(own), len(tasks)))
    return pd.DataFrame(rows, columns=columns)


def ledgers(study: Study) -> pd.DataFrame:
    """Where the wall time of a run went, in seconds: means over runs that have not failed.

    Columns: task, method, method_s (charged), evaluation_s, checkpoint_s, setup_s, wall_s,
    peak_memory_mb (the largest of all runs), n.
    """
    healthy = study.runs[study.runs["status"] != "failed"]
    groups = healthy.groupby(["task", "method"])
    means = groups[[f"{ledger}_s" for ledger in LEDGERS]].mean()
    means = means.join(groups["peak_memory_mb"].max()).join(groups.size().rename("n"))
    table = means.reindex(_index(study)).reset_index()
    table["n"] = table["n"].fillna(0).astype(int)
    return table


def operations(study: Study) -> pd.DataFrame:
    """Charged seconds by primitive operation, and `overhead` for the method's own code.

    Columns: task, method, operation, kind (of `KINDS`), seconds (mean over runs that have not
    failed), share (of the charged time), n.
    """
    kinds = {operation: kind for kind, names in KINDS.items() for operation in names}
    rows = []
    healthy = study.runs[study.runs["status"] != "failed"]
    for (task, method), runs in healthy.groupby(["task", "method"], sort=False):
        parts = [breakdown(text) for text in runs["breakdown"]]
        seconds = pd.DataFrame(parts).fillna(0.0).mean()
        total = seconds.sum()
        for operation, value in seconds.items():
            share = float(value / total) if total else float("nan")
            kind = kinds.get(str(operation), str(operation))
            rows.append((task, method, operation, kind, float(value), share, len(runs)))
    columns = ["task", "method", "operation", "kind", "seconds", "share", "n"]
    return pd.DataFrame(rows, columns=columns)


def breakdown(text: object) -> dict[str, float]:
    """Charged seconds by operation, from a cell of `Study.runs`."""
    parts: dict[str, float] = json.loads(text) if isinstance(text, str) and text else {}
    return parts


def _index(study: Study) -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples(list(pairs(study)), names=["task", "method"])


def _states(status: pd.Series) -> str:
    return ", ".join(f"{count} {state}" for state, count in status.value_counts().items())
