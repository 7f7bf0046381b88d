"""What device time was spent on, and runs whose pace was unusual: a disturbed machine."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pandas as pd

from benchmark.study.model import Study

KINDS = {
    "training": ("train_step", "loss", "loss_gradient", "update"),
    "sampling": ("denoise", "guided_denoise", "denoise_forward", "decode"),
    "scoring": ("reward", "frechet"),
    "gradients through samples": ("denoise_backward", "objective_backward"),
    "optimiser overhead": ("overhead", "trial"),
}
"""Kinds of work by primitive operation; what is not listed is a kind of its own."""
COUNTED = {
    "train_images": ("training",),
    "nfe": ("sampling", "gradients through samples"),
}
"""Counters of work, with the kinds of operations that it is done in."""
UNUSUAL = 0.3
"""Relative distance from the median that is flagged."""
ENOUGH = 3
"""Runs from which on a median says what is usual."""
RUN = ["task", "method", "seed"]


def _seconds(study: Study) -> pd.DataFrame:
    """Charged seconds of every run that has not failed, with a column for each kind of work."""
    kinds = {operation: kind for kind, names in KINDS.items() for operation in names}
    runs = study.runs[study.runs["status"] != "failed"].set_index(RUN)
    parts = [json.loads(text) for text in runs["breakdown"].fillna("{}")]
    spent = pd.DataFrame(parts, index=runs.index, dtype=float)
    return spent.T.groupby(lambda operation: kinds.get(operation, operation)).sum().T


def kinds_of_work(study: Study) -> pd.DataFrame:
    """Charged seconds of a run by kind of work, `optimiser overhead` being the method's own code.

    Columns: task, method, kind (of `KINDS`), seconds (mean over the `n` runs that have not failed).
    """
    groups = _seconds(study).groupby(RUN[:2], sort=False)
    means = groups.mean().assign(n=groups.size()).reset_index()
    table = means.melt([*RUN[:2], "n"], var_name="kind", value_name="seconds")
    return table[table["seconds"] > 0]


@lru_cache(maxsize=2)
def rates(study: Study) -> pd.DataFrame:
    """Work per device second of every run that has not failed, beside what is usual.

    Columns: task, method, seed, work (`train_images` or `nfe`), rate (per second charged for the
    operations that do it), usual (median over the n runs of the task and method), n, ratio
    (rate over usual). Runs are compared with those of their own method, because single-run
    methods and searches do different work, and by operation, so that it does not matter how long a
    run trained and how long it sampled.
    """
    spent = _seconds(study)
    done = study.frame.groupby(RUN)[list(COUNTED)].max().reindex(spent.index)
    seconds = {work: spent.reindex(columns=kinds).sum(axis=1) for work, kinds in COUNTED.items()}
    rate = done / pd.DataFrame(seconds)
    known = pd.Series(rate.rename_axis(columns="work").stack(), name="rate")
    table: pd.DataFrame = known[np.isfinite(known) & (known > 0)].reset_index()
    groups = table.groupby(["task", "method", "work"])["rate"]
    table["usual"], table["n"] = groups.transform("median"), groups.transform("size")
    return table.assign(ratio=table["rate"] / table["usual"])


def unusual(study: Study) -> pd.DataFrame:
    """Rows of `rates` that are more than 30 % off what is usual, among at least three runs."""
    table = rates(study)
    off = np.abs(table["ratio"] - 1) > UNUSUAL
    found: pd.DataFrame = table[off & (table["n"] >= ENOUGH)].reset_index(drop=True)
    return found
