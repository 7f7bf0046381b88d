"""Hypervolume of the trade-off between reward and divergence, over the budget.

A fine-tuned model is judged by E[r1] and by its divergence from the pre-trained one. A run that has
delivered several models has delivered a set of trade-offs; its hypervolume (Zitzler & Thiele, IEEE
TEVC 1999) is the area that they dominate, in units of the task's stored references:

    x = gain in E[r1], 0 at the stored default and 1 at the stored tuned run
    y = 1 - KL / (2 · KL of the stored tuned run)

above the corner x = 0, y = 0. The tuned run alone dominates 1/2; one with its reward at no
divergence would dominate 1. No run of a study moves the scale.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.analysis import statistics
from benchmark.analysis.measures import FRACTIONS, INTERVAL
from benchmark.study.model import Study, Task
from benchmark.study.traces import Array

DIVERGENCES = ("path_kl", "kl")
"""Metrics that are a divergence from the pre-trained model, the first reported one being used."""
ROOM = 2.0
"""Divergence at which y is 0, in units of the stored tuned run's."""


def hypervolume(points: Array) -> float:
    """Area that `points` `(n, 2)` dominate above the corner (0, 0), larger being better in both;
    points with a value that is not finite count for nothing."""
    kept = points[np.isfinite(points).all(axis=1) & (points > 0).all(axis=1)]
    order = kept[:, 0].argsort()[::-1]
    x, height = kept[order, 0], np.maximum.accumulate(kept[order, 1]) if len(kept) else kept[:, 1]
    widths = x - np.append(x[1:], 0.0)
    return float(widths @ height)


def hypervolumes(study: Study) -> pd.DataFrame:
    """The hypervolume that every run had dominated at `FRACTIONS` of the budget.

    Columns: task, method, seed, fraction, hypervolume (0 before anything better than the default
    was delivered). Tasks without a divergence, or without stored references of both, are left out.
    """
    rows = []
    for task in study.tasks.values():
        scale = _scale(task)
        if scale is None:
            continue
        divergence, default, gain, room = scale
        for method in task.methods:
            costs = {trace.seed: trace for trace in task.trace(method, divergence)}
            for trace in task.trace(method, task.primary.name):
                if trace.seed not in costs:
                    continue
                x = (trace.values - default) / gain
                y = 1 - costs[trace.seed].at(trace.hours) / room
                points = np.stack([x, y], axis=1)
                for fraction in FRACTIONS:
                    known = points[trace.hours <= fraction * task.budget]
                    rows.append((task.name, method, trace.seed, fraction, hypervolume(known)))
    return pd.DataFrame(rows, columns=["task", "method", "seed", "fraction", "hypervolume"])


def means(study: Study) -> pd.DataFrame:
    """`hypervolumes` over seeds. Columns: task, method, fraction, mean, low, high (95 %
    Student-t), n."""
    rows = []
    groups = hypervolumes(study).groupby(["task", "method", "fraction"], sort=False)
    for (task, method, fraction), own in groups:
        found = statistics.mean_interval(own["hypervolume"])
        rows.append((task, method, fraction, *found.numbers, int(found.n)))
    return pd.DataFrame(rows, columns=["task", "method", "fraction", *INTERVAL, "n"])


def _scale(task: Task) -> tuple[str, float, float, float] | None:
    """The divergence's name, the default's reward, the gain of the tuned run, the largest
    divergence that counts."""
    names = {metric.name for metric in task.metrics}
    divergence = next((name for name in DIVERGENCES if name in names), None)
    tuned = (task.facts.get("references") or {}).get("tuned", {})
    if divergence is None or task.references is None or not tuned.get(divergence, 0) > 0:
        return None
    default, best = task.references
    return divergence, default, best - default, ROOM * tuned[divergence]
