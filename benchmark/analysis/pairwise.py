"""Every ranked method against every other on each task: exploratory, corrected for all pairs."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from itertools import permutations

import pandas as pd

from benchmark.analysis import claims, comparison
from benchmark.analysis.claims import BETTER, Lead, ends, losses
from benchmark.study.model import Metric, Study, Task

Leads = dict[tuple[str, str], Lead]
COLUMNS = [
    "task", "metric", "method", "other", "effect", "low", "high", "lead", "p", "p_holm", "pairs",
    "n", "wins", "failed", "failed_other", "outcome", "better",
]  # fmt: skip


@lru_cache(maxsize=2)
def compare(study: Study) -> pd.DataFrame:
    """All pairs of ranked methods at the end of the budget, in the primary metric and in the one
    that is to confirm it.

    Both orders of every pair, columns: task, metric, method, other, effect with low and high, lead,
    p, p_holm (Holm, over all `pairs` of the task and metric), n, wins, failed, failed_other and
    outcome as in `contrasts.planned`, better (the outcome is `better`, and the other metric does
    not deny it).
    """
    rows = [row for task in study.tasks.values() for row in _task(study, task)]
    return pd.DataFrame(rows, columns=COLUMNS)


def ranking(task: Task) -> pd.DataFrame:
    """Ranked methods, the best first, over the seeds on which all that have any have ended.

    Columns: method, failed (runs without a finite value), loss (mean on the metric's own scale,
    lower is better, over the others), n (common seeds). Methods with fewer failures stand first.
    """
    values, common = _ends(task, task.primary), common_seeds(task)
    rows = []
    for label, own in values.items():
        shared = own[common]
        failed = shared.isna()
        loss = losses(shared[~failed], task.primary).mean()
        rows.append({"method": label, "failed": int(failed.sum()), "loss": loss, "n": len(shared)})
    table = pd.DataFrame(rows, columns=["method", "failed", "loss", "n"])
    ordered = table[table["n"] > 0].sort_values(["failed", "loss"], kind="stable")
    return ordered.reset_index(drop=True)


def common_seeds(task: Task) -> list[int]:
    """Seeds on which all ranked methods have ended that have ended on any."""
    seeds = [set(own.index) for own in _ends(task, task.primary).values()]
    return sorted(set.intersection(*seeds)) if seeds else []


def _ends(task: Task, metric: Metric) -> dict[str, pd.Series]:
    found = {label: ends(task, label, metric) for label, m in task.methods.items() if m.ranked}
    return {label: own for label, own in found.items() if len(own)}


def _task(study: Study, task: Task) -> list[dict[str, object]]:
    first = _leads(task, task.primary)
    second = _leads(task, task.confirmation) if task.confirmation else {}
    smallest = study.design.smallest_effect
    rows = _rows(task.primary, first, second, smallest)
    if task.confirmation:
        rows += _rows(task.confirmation, second, first, smallest)
    return [{"task": task.name} | row for row in rows]


def _leads(task: Task, metric: Metric) -> Leads:
    """Every pair in both orders."""
    values = _ends(task, metric)
    return {
        (method, other): claims.compare(values[method], values[other], metric)
        for method, other in permutations(values, 2)
    }


def _rows(metric: Metric, leads: Leads, again: Leads, smallest: float) -> list[dict[str, object]]:
    once = [pair for pair in leads if pair < pair[::-1]]
    corrected = comparison.holm([leads[pair].p for pair in once])
    p_holm = dict(zip(once, map(float, corrected), strict=True))
    rows: list[dict[str, object]] = []
    for pair, lead in leads.items():
        p = p_holm[min(pair, pair[::-1])]
        confirmed = again[pair].confirms(smallest) if pair in again else ""
        outcome = lead.outcome(p, smallest, confirmed)
        rows.append(
            asdict(lead) | {
                "metric": metric.name, "method": pair[0], "other": pair[1], "p_holm": p,
                "pairs": int(pd.notna(corrected).sum()), "outcome": outcome,
                "better": outcome == BETTER,
            }
        )  # fmt: skip
    return rows
