"""What the results say, in words that claim no more than the tests show.

`verdict` answers for the whole study in three sentences, the first of which is the answer;
`verdicts` gives the evidence task by task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.analysis import claims, comparison, contrasts, pairwise, statistics, words
from benchmark.analysis.claims import BETTER, MISSING, TIED, UNDECIDED, WORSE
from benchmark.runs.design import LEVEL
from benchmark.study.model import Study, Task

Row = dict[Any, Any]

EXPLANATION = (
    "Methods are compared over the same seeds at the end of the budget; a run that failed or "
    "delivered nothing finite counts as the worst value. Planned comparisons are exact sign-flip "
    f"tests at {words.percent(LEVEL)}, corrected for all of them (Holm). A lead that the "
    "task's second measure does not confirm is no win. A non-significant difference is not "
    "evidence that the methods are equal."
)
"""How to read all sentences."""


@dataclass(frozen=True)
class TaskVerdict:
    """The summary of one task: plain text, methods and tasks as they are called."""

    task: str
    headline: str
    sentences: list[str]
    """The evidence, and what else must be known."""
    comparisons: pd.DataFrame
    """The task's rows of `pairwise.compare`."""


def verdict(study: Study) -> list[str]:
    """Three sentences on the whole study: the answer, the evidence, and what speaks against it;
    a fourth where runs are missing."""
    rows = planned(study)
    said = _answers(study, rows) if rows else _exploratory(study)
    unfinished = any([*_unfinished(task)] for task in study.tasks.values())
    return [*said, *(["Not all runs are finished, so this may change."] if unfinished else [])]


def verdicts(study: Study) -> list[TaskVerdict]:
    """One verdict per task, in the suite's order."""
    compared = pairwise.compare(study)
    return [
        _on_task(task, compared[compared["task"] == task.name]) for task in study.tasks.values()
    ]


def planned(study: Study) -> list[Row]:
    """Rows of `contrasts.planned`; none if they were not stated before the runs."""
    rows: list[Row] = contrasts.planned(study).to_dict("records")
    return [] if study.design.changed else rows


# -- planned comparisons --------------------------------------------------------------------


def _answers(study: Study, rows: Sequence[Row]) -> list[str]:
    focus = study.focus or rows[0]["method"]
    own = [row for row in rows if row["method"] == focus] or list(rows)
    won = [row for row in own if row["outcome"] == BETTER]
    rest = [row for row in own if row["outcome"] != BETTER]
    if len(own) == 1:
        answer = _claim(study, own[0], focus)
    elif not rest:
        answer = f"{focus} wins all of its {len(own)} planned comparisons."
    elif won:
        answer = f"{focus} wins {len(won)} of its {len(own)} planned comparisons."
    else:
        answer = (
            f"{focus} does not win: none of its {len(own)} planned comparisons is decided for it."
        )
    said = [answer]
    if won and len(own) > 1:
        parts = [f"{_where(row)} ({_evidence(study, row)})" for row in won]
        said.append(f"It is better than {words.some(parts, joint='; ')}.")
    if rest and len(own) > 1:
        order = (WORSE, UNDECIDED, TIED, MISSING)
        rest.sort(key=lambda row: (not _troubled(row), order.index(row["outcome"])))
        parts = [_shortfall(study, row) for row in rest]
        said.append(f"{_capital(words.some(parts, joint='; '))}.")
    if len(said) < 3:
        said.append(_certainty(rows))
    return said


def _claim(study: Study, row: Row, method: str) -> str:
    """One comparison as a sentence."""
    if row["outcome"] == BETTER:
        return f"{method} is better than {_where(row)}: {_evidence(study, row)}."
    return f"{method} does not win: {_shortfall(study, row)}."


def _where(row: Row) -> str:
    against = row["against"]
    whom = against[0] if len(against) == 1 else f"each of {words.names(against)}"
    return f"{whom} on {row['task']}"


def _evidence(study: Study, row: Row) -> str:
    closest = row["other"] if len(row["against"]) > 1 else ""
    said = words.change(study.task(row["task"]).primary, row["effect"], closest)
    over = words.count(row["n"], "seed")
    return f"{said} over {over}, {words.p_value(row['p_holm'])}{_failed(row)}"


def _shortfall(study: Study, row: Row) -> str:
    """Why a comparison is not won."""
    task, method, other = study.task(row["task"]), row["method"], row["other"]
    where, seeds = f"on {task.name}", words.count(row["n"], "seed")
    effect, second = words.change(task.primary, row["effect"]), task.confirmation
    if row["outcome"] == MISSING:
        return f"{where} {method} and {other} have ended on no seed in common"
    if row["failed"] > row["failed_other"]:
        return (
            f"{where} {method} failed on {row['failed']} of {seeds}, which count as the worst "
            f"value, against {other}"
            + (f", which failed on {row['failed_other']}" if row["failed_other"] else "")
        )
    if row["outcome"] == WORSE:
        p = words.p_value(row["p_holm"])
        return f"{where} {method} is worse than {other} ({effect}, {p}{_failed(row)})"
    if row["outcome"] == TIED:
        within = words.percent(study.design.smallest_effect)
        return f"{where} {method} and {other} are tied, within {within}"
    if row["confirmed"] == claims.CONTRADICTED and row["lead"] > 0 and second:
        against = words.change(second, row["second_effect"], row["second_other"])
        return f"{where} the second measure contradicts: {effect}, but {against}"
    if row["confirmed"] == claims.ABSENT and row["lead"] > 0 and second:
        first = words.change(task.primary, row["effect"], other)
        return f"{where} {first}, but no difference in {second.label}"
    if row["smallest_p"] > LEVEL:
        least = words.p_value(row["smallest_p"])
        return (
            f"{where} {seeds} cannot decide against {other} ({effect}; smallest possible {least})"
        )
    p = words.p_value(row["p_holm"])
    return f"{where} no difference from {other} is shown ({effect}, {p}{_failed(row)})"


def _troubled(row: Row) -> bool:
    return bool(row["failed"] > row["failed_other"] or row["confirmed"] == claims.CONTRADICTED)


def _failed(row: Row) -> str:
    parts = [
        f"{name} failed on {row[key]}"
        for name, key in ((row["method"], "failed"), (row["other"], "failed_other"))
        if row[key]
    ]
    return f"; {words.names(parts)} of {row['n']}" if parts else ""


def _certainty(rows: Sequence[Row]) -> str:
    """How sure the planned comparisons are."""
    known = [row["n"] for row in rows if row["n"]]
    if not known:
        return "No run has ended yet."
    family = "" if len(rows) == 1 else f", corrected for all {len(rows)}"
    return (
        f"Each comparison is an exact test over the same {words.count(min(known), 'seed')} of both "
        f"methods{family}; the smallest p that so many can give is "
        f"{words.number(comparison.smallest_p(min(known)), 2)}."
    )


# -- without planned comparisons ------------------------------------------------------------


def _exploratory(study: Study) -> list[str]:
    why = (
        "the planned comparisons were changed after runs had begun"
        if study.design.changed
        else "no comparison was planned before the runs"
    )
    leaders: dict[str, list[str]] = {}
    for task in study.tasks.values():
        ranked = pairwise.ranking(task)
        if len(ranked):
            leaders.setdefault(str(ranked["method"].iloc[0]), []).append(task.name)
    if not leaders:
        return ["No run has ended yet, so nothing can be said."]
    best = [
        f"{label} has the best result on {words.names(where)}" for label, where in leaders.items()
    ]
    compared = pairwise.compare(study)
    clear: list[str] = []
    unclear: list[str] = []
    for label, where in leaders.items():
        for name in where:
            own = _against(study.task(name), compared, label)
            (clear if len(own) and own["better"].all() else unclear).append(name)
    shown = f"The lead over every other method is shown on {words.names(clear)}" if clear else (
        "On no task is the lead over every other method shown"
    )  # fmt: skip
    shown += f", and not on {words.names(unclear)}" if clear and unclear else ""
    final = compared.to_dict("records")
    shown += f"{_hopeless(final)}." if unclear and final else "."
    tasks = study.tasks.values()
    doubts = [text for task in tasks for text in _doubts(task, compared)]
    doubts += [
        f"on {task.name} {label}, which is not ranked, is better than all that are"
        for task in tasks
        for label in _unranked_ahead(task)
    ]
    return [
        f"{'; '.join(best)} (exploratory: {why}).",
        shown,
        *([f"{_capital(words.some(doubts, joint='; '))}."] if doubts else []),
    ]


def _against(task: Task, compared: pd.DataFrame, label: str) -> pd.DataFrame:
    """Comparisons of a method with all others in the primary metric."""
    own = compared[(compared["task"] == task.name) & (compared["method"] == label)]
    return own[own["metric"] == task.primary.name]


def _doubts(task: Task, compared: pd.DataFrame) -> Iterator[str]:
    """Failures, and a leader whom the second measure contradicts."""
    for label, (failed, runs) in claims.failures(task).items():
        yield f"on {task.name} {label} failed on {failed} of {words.count(runs, 'seed')}"
    ranked = pairwise.ranking(task)
    if task.confirmation is None or len(ranked) < 2:
        return
    leader = ranked["method"].iloc[0]
    own = compared[(compared["task"] == task.name) & (compared["method"] == leader)]
    second = own[own["metric"] == task.confirmation.name]
    behind = [row for row in second.to_dict("records") if row["n"] and row["lead"] < 0]
    if behind:
        worst = min(behind, key=lambda row: float(row["lead"]))
        yield (
            f"on {task.name} the second measure contradicts the lead of {leader}: "
            f"{words.change(task.confirmation, worst['effect'], worst['other'])}"
        )


# -- one task -------------------------------------------------------------------------------


def _on_task(task: Task, compared: pd.DataFrame) -> TaskVerdict:
    rows = [row for row in planned(task.study) if row["task"] == task.name]
    exploratory = list(_ranked(task, compared))
    claimed = [_claim(task.study, row, row["method"]) for row in rows]
    if claimed:
        headline, *evidence = claimed
        evidence += [f"Exploratory: {text}" for text in exploratory[:1]] + exploratory[1:]
    else:
        headline, *evidence = exploratory or ["No run has ended yet, so nothing can be said."]
    doubts = [f"{_capital(text)}." for text in _doubts(task, compared)]
    return TaskVerdict(
        task.name, headline, [*evidence, *doubts, *_unranked(task), *_unfinished(task)], compared
    )


def _ranked(task: Task, compared: pd.DataFrame) -> Iterator[str]:
    """The order of methods over their common seeds, and whom the first is shown to beat."""
    ranked = pairwise.ranking(task)
    if ranked.empty:
        return
    leader, n = str(ranked["method"].iloc[0]), int(ranked["n"].iloc[0])
    over = f"over {words.count(n, 'seed')}"
    if len(ranked) == 1:
        yield f"Only {leader} has results: {_mean(task, leader)} {over}."
        return
    yield (
        f"{leader} has the best {task.primary.label}, {_mean(task, leader)} {over}; next is "
        f"{ranked['method'].iloc[1]} with {_mean(task, str(ranked['method'].iloc[1]))}."
    )
    own = _against(task, compared, leader).to_dict("records")
    beaten = [str(row["other"]) for row in own if row["better"]]
    left = [str(row["other"]) for row in own if not row["better"]]
    (closest,) = (row for row in own if row["other"] == ranked["method"].iloc[1])
    yield (
        f"{words.change(task.primary, closest['effect'], closest['other'])}, ahead on "
        f"{closest['wins']} of {words.count(closest['n'], 'seed')}."
    )
    if beaten:
        yield (
            f"{leader} is better than {words.some(beaten)} after Holm's correction for "
            f"{words.count(own[0]['pairs'], 'pair')}."
        )
    if left:
        yield f"{leader} is not shown to be better than {words.some(left)}{_hopeless(own)}."


def _hopeless(rows: Sequence[Row]) -> str:
    """Says so where no result could have passed the corrected tests."""
    n, pairs = max(row["n"] for row in rows), max(row["pairs"] for row in rows)
    if comparison.smallest_p(n) * pairs < LEVEL:
        return ""
    return (
        f": {words.count(n, 'seed')} cannot show anything after correction for "
        f"{words.count(pairs, 'pair')}, only planned comparisons can"
    )


def _mean(task: Task, label: str) -> str:
    values = claims.ends(task, label, task.primary)
    found = statistics.mean_interval(values.to_numpy(dtype=float), task.primary.log)
    return words.interval(float(found.value), float(found.low), float(found.high))


def _unranked(task: Task) -> Iterator[str]:
    for label, method in task.methods.items():
        if not method.ranked and len(claims.ends(task, label, task.primary)):
            ahead = ", ahead of the first" if label in _unranked_ahead(task) else ""
            yield f"Not ranked: {label} with {_mean(task, label)}{ahead} (uses: {method.uses})."


def _unranked_ahead(task: Task) -> list[str]:
    """Methods that do not compete and are better than the first of those that do."""
    ranked = pairwise.ranking(task)
    if ranked.empty:
        return []
    leader = claims.ends(task, str(ranked["method"].iloc[0]), task.primary)
    others = [label for label, method in task.methods.items() if not method.ranked]
    leads = {x: claims.compare(claims.ends(task, x, task.primary), leader, task.primary)
             for x in others}  # fmt: skip
    return [label for label, lead in leads.items() if lead.ahead > 0]


def _unfinished(task: Task) -> Iterator[str]:
    runs = task.runs()
    absent = [label for label in task.methods if label not in set(runs["method"])]
    if absent:
        yield f"Planned, but with no run yet: {words.names(absent)}."
    states = runs.loc[~runs["status"].isin(claims.ENDED), "status"].value_counts()
    if len(states):
        counts = ", ".join(f"{n} {state}" for state, n in states.items())
        yield f"Not all runs are finished ({counts} of {len(runs)}), so all this may change."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
