"""Runs that worked unusually fast or slowly for their device time: a disturbed machine."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from benchmark.analysis.measures import KINDS, breakdown
from benchmark.study.model import Study

COUNTED = {
    "train_images": ("training",),
    "nfe": ("sampling", "gradients through samples"),
}
"""Counters of work, with the kinds of operations that it is done in."""
UNUSUAL = 0.3
"""Relative distance from the median that is flagged."""
ENOUGH = 3
"""Runs from which on a median says what is usual."""
COLUMNS = ["task", "method", "seed", "work", "rate", "usual", "ratio", "n"]


@lru_cache(maxsize=2)
def rates(study: Study) -> pd.DataFrame:
    """Work per device second of every run that has not failed, beside what is usual.

    Columns: task, method, seed, work (`train_images` or `nfe`), rate (per second charged for the
    operations that do it), usual (median over the n runs of the task and method), ratio
    (rate over usual), n. Runs are compared with those of their own method, because single-run
    methods and searches do different work, and by operation, so that it does not matter how long a
    run trained and how long it sampled.
    """
    last = study.frame.groupby(["task", "method", "seed"])[list(COUNTED)].max()
    rows = []
    for run in study.runs[study.runs["status"] != "failed"].to_dict("records"):
        key = run["task"], run["method"], run["seed"]
        if key not in last.index:
            continue
        seconds = breakdown(run["breakdown"])
        for work, kinds in COUNTED.items():
            operations = [name for kind in kinds for name in KINDS[kind]]
            spent = sum(seconds.get(name, 0.0) for name in operations)
            done = float(last.loc[key, work])
            if spent > 0 and done > 0:
                rows.append((*key, work, done / spent))
    table = pd.DataFrame(rows, columns=COLUMNS[:5])
    groups = table.groupby(["task", "method", "work"])["rate"]
    table["usual"], table["n"] = groups.transform("median"), groups.transform("size")
    table["ratio"] = table["rate"] / table["usual"]
    return table[COLUMNS]


def unusual(study: Study) -> pd.DataFrame:
    """Rows of `rates` that are more than 30 % off what is usual, among at least three runs."""
    table = rates(study)
    off = np.abs(table["ratio"] - 1) > UNUSUAL
    found: pd.DataFrame = table[off & (table["n"] >= ENOUGH)].reset_index(drop=True)
    return found
