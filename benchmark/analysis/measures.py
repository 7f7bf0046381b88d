"""Tidy numeric tables at full precision: what the tables print and the figures draw.

Every function gives one row per task × method (× what it is about), also for methods whose
runs failed or are missing: their values are NaN and their `n` is 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from benchmark.analysis import statistics
from benchmark.analysis.curves import Cost, at_fractions, cost_to_target
from benchmark.study.model import Study, Task

FRACTIONS = (0.1, 0.25, 0.5, 1.0)
INTERVAL = ("mean", "low", "high")
KINDS = {
    "training": ("train_step", "loss", "loss_gradient", "update"),
    "sampling": ("denoise", "guided_denoise", "denoise_forward", "decode"),
    "scoring": ("reward", "frechet"),
    "gradients through samples": ("denoise_backward", "objective_backward"),
    "optimiser overhead": ("overhead", "trial"),
}
"""Kinds of work by primitive operation; what is not listed is a kind of its own."""
LEDGERS = ("method", "evaluation", "checkpoint", "setup", "wall")


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
            for fraction, own in zip(FRACTIONS, values.T, strict=True):
                found = statistics.mean_interval(own, metric.log)
                key = (task.name, method, metric.name, fraction, fraction * task.budget)
                rows.append((*key, *found.numbers, int(found.n), runs))
    columns = ["task", "method", "metric", "fraction", "gpu_hours", *INTERVAL, "n", "runs"]
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
    table = _all_pairs(study, means.join(states, how="outer"))
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
    traces = task.trace(method, task.primary.name)
    values = at_fractions(traces, task.budget, fractions)
    shares = statistics.normalised(values, *task.references, task.primary.log)
    seeds = [trace.seed for trace in traces]
    known = pd.DataFrame(shares, index=seeds, columns=list(fractions))
    return known.reindex(sorted(task.runs(method)["seed"]))


def profile(scores: pd.DataFrame, thresholds: ArrayLike) -> pd.DataFrame:
    """Performance profile: share of a method's runs with a score above each threshold.

    (Agarwal et al., NeurIPS 2021, "run-score distribution".) Columns: method, threshold, share,
    low, high (95 % Wilson), n (runs). Only methods with runs on every task of `scores`:
    the others' shares would be over other tasks.
    """
    limits = np.asarray(thresholds, dtype=float)
    rows = []
    for method, own in _everywhere(scores):
        above = (own["score"].to_numpy() > limits[:, None]).sum(axis=1)
        share = statistics.share_interval(above, len(own))
        rows += [
            (method, *numbers, len(own))
            for numbers in zip(limits, share.value, share.low, share.high, strict=True)
        ]
    return pd.DataFrame(rows, columns=["method", "threshold", "share", "low", "high", "n"])


def aggregate(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over tasks of a method's mean normalised score.

    Columns: method, mean, low, high (95 % Welch-Satterthwaite, for these tasks), n (finite runs),
    runs, tasks. Only methods with runs on every task of `scores`.
    """
    rows = []
    for method, own in _everywhere(scores):
        by_task = [values for _, values in own.groupby("task", sort=False)["score"]]
        found = statistics.mean_of_means(by_task)
        rows.append((method, *found.numbers, int(found.n), len(own), len(by_task)))
    return pd.DataFrame(rows, columns=["method", *INTERVAL, "n", "runs", "tasks"])


def _everywhere(scores: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Methods with runs on every task, and their scores."""
    tasks = scores["task"].nunique()
    for method, own in scores.groupby("method", sort=False):
        if own["task"].nunique() == tasks:
            yield str(method), own


def ledgers(study: Study) -> pd.DataFrame:
    """Where the wall time of a run went, in seconds: means over runs that have not failed.

    Columns: task, method, method_s (charged), evaluation_s, checkpoint_s, setup_s, wall_s,
    peak_memory_mb (the largest of all runs), n.
    """
    healthy = study.runs[study.runs["status"] != "failed"]
    groups = healthy.groupby(["task", "method"])
    means = groups[[f"{ledger}_s" for ledger in LEDGERS]].mean()
    means = means.join(groups["peak_memory_mb"].max()).join(groups.size().rename("n"))
    return _all_pairs(study, means)


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


def _all_pairs(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """The table by task and method with a row for every pair; `n` is 0 where there was none."""
    index = [(task.name, method) for task, method in pairs(study)]
    names = ["task", "method"]
    found = table.reindex(pd.MultiIndex.from_tuples(index, names=names)).reset_index()
    return found.assign(n=found["n"].fillna(0).astype(int))


def _states(status: pd.Series) -> str:
    return ", ".join(f"{count} {state}" for state, count in status.value_counts().items())
