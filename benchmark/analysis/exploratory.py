"""Exploratory comparisons, which nobody planned: who leads where, and what contradicts it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from benchmark.analysis import claims, comparison, pairwise, statistics, words
from benchmark.runs.design import LEVEL
from benchmark.study.model import Study, Task

NOTHING = "Nothing finite has been delivered yet, so nothing can be said."


def summary(study: Study, why: str) -> list[str]:
    """Up to three sentences on the whole study; `why` says why they are exploratory."""
    found = leaders(study)
    if not found:
        return [NOTHING]
    compared = pairwise.compare(study)
    leads = {
        name: _against(study.task(name), compared, label)["better"]
        for label, where in found.items()
        for name in where
    }
    clear = [name for name, better in leads.items() if len(better) and better.all()]
    unclear = [name for name, better in leads.items() if not better.all()]
    shown = [f"is shown on {words.names(clear)}"] if clear else []
    if unclear:
        why_not = _hopeless(compared.to_dict("records"))
        shown.append(f"is not shown on {words.names(unclear)}{why_not}")
    tasks = study.tasks.values()
    against = [text for task in tasks for text in doubts(task, compared)]
    against += [
        f"on {task.name} {label}, which is not ranked, is better than all that are"
        for task in tasks
        for label in _ahead_unranked(task)
    ]
    return [
        f"{best(found)} (exploratory: {why}).",
        *([f"The lead over every other method {'; it '.join(shown)}."] if shown else []),
        *([f"{words.capital(words.some(against, joint='; '))}."] if against else []),
    ]


def _against(task: Task, compared: pd.DataFrame, label: str) -> pd.DataFrame:
    """Comparisons of a method with all others in the primary metric."""
    own = compared[(compared["task"] == task.name) & (compared["method"] == label)]
    return own[own["metric"] == task.primary.name]


def doubts(task: Task, compared: pd.DataFrame) -> Iterator[str]:
    """Failures, and a leader whom the second measure contradicts."""
    for label, (failed, runs) in claims.failures(task).items():
        missing = f"{failed} of {words.count(runs, 'seed')}"
        yield f"on {task.name} {label} has no finite result on {missing}"
    ranked = pairwise.ranking(task)
    if task.confirmation is None or len(ranked) < 2:
        return
    leader = ranked["method"].iloc[0]
    own = compared[(compared["task"] == task.name) & (compared["method"] == leader)]
    second = own[own["metric"] == task.confirmation.name]
    smallest = task.study.design.smallest_effect
    behind = [row for row in second.to_dict("records") if row["n"] and row["lead"] < -smallest]
    if behind:
        worst = min(behind, key=lambda row: float(row["lead"]))
        yield (
            f"on {task.name} the second measure contradicts the lead of {leader}: "
            f"{words.change(task.confirmation, worst['effect'], worst['other'])}"
        )


def leaders(study: Study) -> dict[str, list[str]]:
    """The ranked methods with the best result, and the tasks where they have it."""
    found: dict[str, list[str]] = {}
    for task in study.tasks.values():
        ranked = pairwise.ranking(task)
        if len(ranked) and ranked["failed"].iloc[0] < ranked["n"].iloc[0]:
            found.setdefault(str(ranked["method"].iloc[0]), []).append(task.name)
    return found


def best(found: dict[str, list[str]]) -> str:
    """Where which method leads."""
    return "; ".join(f"{who} has the best result on {words.names(on)}" for who, on in found.items())


def on_task(task: Task, compared: pd.DataFrame) -> Iterator[str]:
    """The order of methods over their common seeds, and whom the first is shown to beat."""
    ranked = pairwise.ranking(task)
    if ranked.empty:
        return
    leader, seeds = str(ranked["method"].iloc[0]), pairwise.common_seeds(task)
    n = len(seeds)
    over = f"over {words.count(n, 'seed')}"
    if ranked["failed"].iloc[0] == n:
        yield f"No method has delivered a finite {task.primary.label}."
        return
    if len(ranked) == 1:
        yield f"Only {leader} has results: {_mean(task, leader, seeds)} {over}."
        return
    second = str(ranked["method"].iloc[1])
    yield (
        f"{leader} has the best {task.primary.label}, {_mean(task, leader, seeds)} {over}; "
        f"next is {second} with {_mean(task, second, seeds)}."
    )
    own = _against(task, compared, leader).to_dict("records")
    beaten = [str(row["other"]) for row in own if row["better"]]
    left = [str(row["other"]) for row in own if not row["better"]]
    (closest,) = (row for row in own if row["other"] == second)
    change = words.change(task.primary, closest["effect"], closest["other"])
    yield f"{words.capital(change)}, ahead on {closest['wins']} of {words.count(n, 'seed')}."
    if beaten:
        yield (
            f"{leader} is better than {words.some(beaten)} after Holm's correction for "
            f"{words.count(own[0]['pairs'], 'pair')}."
        )
    if left:
        yield f"{leader} is not shown to be better than {words.some(left)}{_hopeless(own)}."


def _hopeless(rows: Sequence[dict[Any, Any]]) -> str:
    """Says so where no result could have passed the corrected tests."""
    n, pairs = max(row["n"] for row in rows), max(row["pairs"] for row in rows)
    if comparison.smallest_p(n) * pairs < LEVEL:
        return ""
    return (
        f": {words.count(n, 'seed')} cannot show anything after correction for "
        f"{words.count(pairs, 'pair')}, only planned comparisons can"
    )


def _mean(task: Task, label: str, seeds: Sequence[int] | None = None) -> str:
    values = _ends(task, label)
    values = values if seeds is None else values[list(seeds)]
    found = statistics.mean_interval(values.to_numpy(dtype=float), task.primary.log)
    return words.interval(*found.numbers)


def unranked(task: Task) -> Iterator[str]:
    for label, method in task.methods.items():
        if not method.ranked and len(_ends(task, label)):
            ahead = ", ahead of the first" if label in _ahead_unranked(task) else ""
            yield f"Not ranked: {label} with {_mean(task, label)}{ahead} (uses: {method.uses})."


def _ahead_unranked(task: Task) -> list[str]:
    """Methods that do not compete and are better than the first of those that do."""
    ranked = pairwise.ranking(task)
    if ranked.empty:
        return []
    leader = _ends(task, str(ranked["method"].iloc[0]))
    others = [label for label, method in task.methods.items() if not method.ranked]
    return [x for x in others if claims.compare(_ends(task, x), leader, task.primary).ahead > 0]


def _ends(task: Task, label: str) -> pd.Series:
    return claims.ends(task, label, task.primary)
