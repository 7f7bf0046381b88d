"""The suite's planned comparisons: few, stated before anything ran, corrected among themselves."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache

import numpy as np
import pandas as pd

from benchmark.analysis import comparison
from benchmark.analysis.claims import Lead, compare, ends
from benchmark.runs.design import Contrast
from benchmark.study.model import Metric, Study

COLUMNS = [
    "name", "task", "method", "against", "other", "metric", "effect", "low", "high", "lead", "n",
    "wins", "failed", "failed_other", "p", "p_holm", "smallest_p", "second", "second_other",
    "second_effect", "second_low", "second_high", "confirmed", "outcome",
]  # fmt: skip


@lru_cache(maxsize=2)
def planned(study: Study) -> pd.DataFrame:
    """The planned contrasts of the study's tasks and methods, in the primary metric at the end.

    A contrast that names a task or a method that was not chosen for these runs has no row.

    Columns: name, task, method, against (labels), other (the one of `against` that the method
    leads least, which the following numbers are about), metric, effect with low and high (ratio
    for metrics on a log scale, else difference; 95 % Student-t), lead (relative, positive where
    the method is better), n (common seeds), wins, failed and failed_other (runs without a finite
    value), p, p_holm (Holm, over all planned contrasts), smallest_p (that n seeds can give),
    second (the metric that is to confirm, or nothing), second_other (the one that the method leads
    least there) with second_effect, second_low and second_high, confirmed (`confirmed`, `absent`,
    `contradicted` or nothing), outcome (`better`, `worse`, `tied`, `undecided` or `missing`; see
    `claims.Lead.outcome`). A lead that the second metric does not confirm is undecided.

    Against several methods the claim is that the method is better than each of them, and p is the
    largest of the single tests (intersection-union test; Berger, Technometrics 1982): no best one
    is chosen, and the error probability is at most that of one test. Where one of them leads, p is
    that of its test times the number of methods (Bonferroni).
    """
    found = [_row(study, contrast) for contrast in study.contrasts if _chosen(study, contrast)]
    table = pd.DataFrame([row for row, _ in found], columns=COLUMNS)
    table["p_holm"] = comparison.holm(table["p"].to_numpy(dtype=float))
    smallest = study.design.smallest_effect
    table["outcome"] = [
        lead.outcome(p, smallest, str(row["confirmed"]))
        for (row, lead), p in zip(found, table["p_holm"], strict=True)
    ]
    return table


def _chosen(study: Study, contrast: Contrast) -> bool:
    """Whether the contrast's task is in the study, and all of its methods take part in it."""
    task = study.tasks.get(contrast.task)
    return task is not None and {contrast.method, *contrast.against} <= task.methods.keys()


def _row(study: Study, contrast: Contrast) -> tuple[dict[str, object], Lead]:
    task = study.task(contrast.task)
    leads = _leads(study, contrast, task.primary)
    other = _least(leads)
    lead = leads[other]
    if not lead.n:
        p = np.nan
    elif lead.ahead < 0:
        p = min(1.0, lead.p * len(leads))
    else:
        p = max(found.p for found in leads.values())
    row: dict[str, object] = asdict(lead) | {
        "name": contrast.name, "task": task.name, "method": contrast.method,
        "against": contrast.against, "other": other, "metric": task.primary.name, "p": p,
        "smallest_p": comparison.smallest_p(min(found.n for found in leads.values())),
        "second": "", "second_other": "", "confirmed": "",
    }  # fmt: skip
    if task.confirmation is not None:
        again = _leads(study, contrast, task.confirmation)
        least = _least(again)
        row |= {
            "second": task.confirmation.name, "second_other": least,
            "second_effect": again[least].effect, "second_low": again[least].low,
            "second_high": again[least].high,
            "confirmed": again[least].confirms(study.design.smallest_effect),
        }  # fmt: skip
    return row, lead


def _leads(study: Study, contrast: Contrast, metric: Metric) -> dict[str, Lead]:
    task = study.task(contrast.task)
    own = ends(task, contrast.method, metric)
    return {other: compare(own, ends(task, other, metric), metric) for other in contrast.against}


def _least(leads: dict[str, Lead]) -> str:
    """The method that is led by least; one without common seeds comes before all others."""

    def size(label: str) -> tuple[bool, int, float]:
        lead = leads[label]
        return lead.n > 0, lead.ahead, float(np.nan_to_num(lead.lead))

    return min(leads, key=size)
