"""The results in words that claim no more than the tests show.

`verdict` answers for the whole study in three sentences, the first of which is the answer;
`verdicts` gives the evidence task by task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.analysis import claims, comparison, contrasts, exploratory, pairwise, words, work
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


def verdict(study: Study) -> list[str]:
    """Three sentences on the whole study: the answer, the evidence, and what speaks against it; one
    more where another method than the suite's focus is best, and one where runs are missing."""
    rows = planned(study)
    begun = any(_begun(study, row) for row in rows)
    said = _answers(study, rows) if begun else exploratory.summary(study, _unplanned(study))
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


def _unplanned(study: Study) -> str:
    """Why there is no planned comparison to speak of."""
    if study.design.changed:
        return "the planned comparisons were changed after runs had begun"
    if study.contrasts:
        return "no planned comparison has been run"
    return "no comparison was planned before the runs"


def _begun(study: Study, row: Row) -> bool:
    task = study.task(row["task"])
    return len(claims.ends(task, row["method"], task.primary)) > 0


def _answers(study: Study, rows: Sequence[Row]) -> list[str]:
    """The answer, the evidence and what speaks against it, for the planned comparisons."""
    focus = study.focus or rows[0]["method"]
    own = [row for row in rows if row["method"] == focus] or list(rows)
    won = [row for row in own if row["outcome"] == BETTER]
    rest = [row for row in own if row["outcome"] != BETTER]
    said = [_claim(study, own[0], focus) if len(own) == 1 else _score(focus, own, len(won))]
    if won and len(own) > 1:
        parts = [f"{_where(row)} ({_evidence(study, row)})" for row in won]
        said.append(f"It is better than {words.some(parts, joint='; ')}.")
    if rest and len(own) > 1:
        order = (WORSE, UNDECIDED, TIED, MISSING)
        rest.sort(key=lambda row: (not _troubled(row), order.index(row["outcome"])))
        parts = [_shortfall(study, row) for row in rest]
        said.append(f"{words.capital(words.some(parts, joint='; '))}.")
    if len(said) < 3:
        said.append(_certainty(rows))
    others = {who: on for who, on in exploratory.leaders(study).items() if who != focus}
    return [*said, *([f"Exploratory: {exploratory.best(others)}."] if others else [])]


def _score(focus: str, own: Sequence[Row], won: int) -> str:
    """How many of several planned comparisons are won."""
    if all(row["outcome"] == MISSING for row in own):
        return f"No planned comparison of {focus} can be decided yet."
    if not won:
        return (
            f"{focus} does not win: none of its {len(own)} planned comparisons is decided in its "
            "favour."
        )
    share = "all" if won == len(own) else won
    return f"{focus} wins {share} of its {len(own)} planned comparisons."


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
    return f"on {row['task']} {_reason(study.task(row['task']), row)}"


def _reason(task: Task, row: Row) -> str:
    """Why a comparison is not won."""
    method, other, seeds = row["method"], row["other"], words.count(row["n"], "seed")
    effect, p = words.change(task.primary, row["effect"]), words.p_value(row["p_holm"])
    if row["outcome"] == MISSING:
        return f"{method} and {other} have ended on no seed in common"
    if row["failed"] > row["failed_other"]:
        return (
            f"{method} has no finite result on {row['failed']} of {seeds}, which counts as the "
            f"worst value, {other} on {row['failed_other'] or 'none'}"
        )
    if row["outcome"] == WORSE:
        return f"{method} is worse than {other} ({effect}, {p}{_failed(row)})"
    if row["outcome"] == TIED:
        within = words.percent(task.study.design.smallest_effect)
        return f"{method} and {other} are tied, within {within}"
    if row["confirmed"] == claims.CONTRADICTED and row["lead"] > 0 and task.confirmation:
        against = words.change(task.confirmation, row["second_effect"], row["second_other"])
        return f"the second measure contradicts: {effect}, but {against}"
    if row["confirmed"] == claims.ABSENT and row["lead"] > 0 and task.confirmation:
        first = words.change(task.primary, row["effect"], other)
        return f"{first}, but no difference in {task.confirmation.label}"
    if row["smallest_p"] > LEVEL:
        least = words.p_value(row["smallest_p"])
        return f"{seeds} cannot decide against {other} ({effect}; smallest possible {least})"
    return f"no difference from {other} is shown ({effect}, {p}{_failed(row)})"


def _troubled(row: Row) -> bool:
    return bool(row["failed"] > row["failed_other"] or row["confirmed"] == claims.CONTRADICTED)


def _failed(row: Row) -> str:
    parts = [
        f"{name} has no finite result on {row[key]}"
        for name, key in ((row["method"], "failed"), (row["other"], "failed_other"))
        if row[key]
    ]
    return f"; {words.names(parts)} of {row['n']}" if parts else ""


def _certainty(rows: Sequence[Row]) -> str:
    """How sure the planned comparisons are."""
    known = [row["n"] for row in rows if row["n"]]
    if not known:
        return "No seed has been run by both methods of any of them."
    family = "" if len(rows) == 1 else f", corrected for all {len(rows)}"
    fewest = min(known)
    so_many = "so many" if fewest == max(known) else str(fewest)
    return (
        f"Each comparison is an exact test over the same {words.seeds(known)} of both methods"
        f"{family}; the "
        f"smallest p that {so_many} can give is "
        f"{words.number(comparison.smallest_p(fewest), 2)}."
    )


def _on_task(task: Task, compared: pd.DataFrame) -> TaskVerdict:
    rows = [row for row in planned(task.study) if row["task"] == task.name]
    unplanned = list(exploratory.on_task(task, compared))
    claimed = [_claim(task.study, row, row["method"]) for row in rows]
    if claimed:
        headline, *evidence = claimed
        evidence += [f"Exploratory: {text}" for text in unplanned[:1]] + unplanned[1:]
    else:
        headline, *evidence = unplanned or [exploratory.NOTHING]
    doubts = [f"{words.capital(text)}." for text in exploratory.doubts(task, compared)]
    return TaskVerdict(
        task.name,
        headline,
        [*evidence, *doubts, *exploratory.unranked(task), *_unusual(task), *_unfinished(task)],
    )


def _unusual(task: Task) -> Iterator[str]:
    """Runs whose device time may have been disturbed."""
    table = work.unusual(task.study)
    own = table[table["task"] == task.name].drop_duplicates(["method", "seed"])
    found = [f"{row['method']} seed {row['seed']}" for row in own.to_dict("records")]
    if found:
        yield (
            f"At an unusual pace, so perhaps disturbed: {words.some(found)} (work per second of "
            "device time more than 30 % off the method's median)."
        )


def _unfinished(task: Task) -> Iterator[str]:
    runs = task.runs()
    absent = [label for label in task.methods if label not in set(runs["method"])]
    if absent:
        yield f"Planned, but with no run yet: {words.names(absent)}."
    states = runs.loc[~runs["status"].isin(claims.ENDED), "status"]
    if len(states):
        counts = words.tally(states)
        yield f"Not all runs are finished ({counts} of {len(runs)}), so all this may change."
