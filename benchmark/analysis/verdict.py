"""What the results say, in words: who wins on each task, by how much, and how sure that is.

Sentences are made from `measures.quality` and `pairwise.compare` alone, and say what cannot be
concluded as plainly as what can. "Wins" and "better" are said of what the tests show, and of
nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis import measures, pairwise
from benchmark.display import formatting
from benchmark.study.model import Metric, Study

Row = dict[Any, Any]


EXPLANATION = (
    "Means over n seeds with 95 % Student-t intervals in brackets, geometric for metrics on a log "
    f"scale. Better: p below {pairwise.LEVEL:g} in a paired t test over at least {pairwise.ENOUGH} "
    "seeds, after Holm's correction for all pairs of methods of the task. A method wins that is "
    "better than every other one. What is not shown is not refuted."
)
"""How to read all sentences."""
NAMED = 3
"""Methods that a headline names; the others it counts."""


@dataclass(frozen=True)
class TaskVerdict:
    """The summary of one task: plain text, methods and tasks as they are called."""

    task: str
    title: str
    """Name of the task with its primary metric and budget."""
    headline: str
    """Who wins, or that nobody is shown to."""
    sentences: list[str]
    """The evidence, and what else must be known."""
    leader: str | None
    """The ranked method with the best mean at the end of the budget; None without any result."""
    others: int
    """Ranked methods with results beside the leader."""
    beaten: int
    """How many of them the leader is shown to be better than."""
    unranked_ahead: list[str]
    """Methods out of competition whose mean is better than the leader's."""
    unfinished: bool
    """Whether runs are missing, not finished or failed."""
    comparisons: pd.DataFrame
    """The task's rows of `pairwise.compare`: all pairs, metrics and fractions."""


def verdicts(study: Study) -> list[TaskVerdict]:
    """One verdict per task, in the suite's order."""
    quality = measures.quality(study)
    compared = pairwise.compare(study)
    return [
        _Summary(study, task, quality, compared[compared["task"] == task]).verdict()
        for task in study.tasks
    ]


class _Summary:
    """The sentences of one task."""

    def __init__(
        self, study: Study, task: str, quality: pd.DataFrame, compared: pd.DataFrame
    ) -> None:
        self.study, self.task, self.compared = study, task, compared
        self.quality = quality[quality["task"] == task]
        self.metric = study.task(task).primary
        self.budget = study.task(task).budget
        self.ranked = self._ranked(self.metric, 1.0)

    def verdict(self) -> TaskVerdict:
        unit = self.study.task(self.task).unit
        time = formatting.duration(self.budget, unit)
        unfinished = list(self._unfinished())
        leader = self.ranked[0]["method"] if self.ranked else None
        beaten = len(_beaten(self._against(leader, 1.0, self.metric))) if leader else 0
        return TaskVerdict(
            task=self.task,
            title=f"{self.task}: {self.metric.title}, {time} of {unit.device} time",
            headline=self._headline(),
            sentences=[*(self._evidence() if leader else ()), *unfinished, *self._infinite()],
            leader=leader,
            others=max(len(self.ranked) - 1, 0),
            beaten=beaten,
            unranked_ahead=[row["method"] for row in self._unranked() if self._ahead(row)],
            unfinished=bool(unfinished),
            comparisons=self.compared,
        )

    def _ranked(self, metric: Metric, fraction: float) -> list[Row]:
        """Rows of `quality` of the ranked methods that have a value, the best first."""
        chosen = (self.quality["metric"] == metric.name) & (self.quality["fraction"] == fraction)
        chosen &= self.quality["method"].isin(self.study.ranked)
        rows = self.quality[chosen & (self.quality["n"] > 0)]
        ordered = rows.sort_values("mean", ascending=not metric.higher_is_better, kind="stable")
        return ordered.to_dict("records")

    def _unranked(self) -> list[Row]:
        """Rows of `quality` at the end of the budget of the methods that are not ranked."""
        chosen = (self.quality["metric"] == self.metric.name) & (self.quality["fraction"] == 1.0)
        chosen &= ~self.quality["method"].isin(self.study.ranked)
        return self.quality[chosen & (self.quality["n"] > 0)].to_dict("records")

    def _ahead(self, row: Row) -> bool:
        """Whether the row's mean is better than the leader's."""
        if not self.ranked:
            return False
        sign = 1 if self.metric.higher_is_better else -1
        return bool(sign * (row["mean"] - self.ranked[0]["mean"]) > 0)

    def _against(self, leader: str, fraction: float, metric: Metric) -> dict[str, Row]:
        """The leader's comparisons by the other's name."""
        table = self.compared
        chosen = (table["method"] == leader) & (table["fraction"] == fraction)
        rows = table[chosen & (table["metric"] == metric.name)].to_dict("records")
        return {row["other"]: row for row in rows}

    def _headline(self) -> str:
        """Who wins; if nobody is shown to, who has the best mean."""
        if not self.ranked:
            return "No run has delivered anything yet, so nothing can be said."
        first, *rest = self.ranked
        leader, mean = first["method"], self._mean(first)
        if not rest:
            return f"Only {leader} has results: {mean}."
        against = self._against(leader, 1.0, self.metric)
        beaten = _beaten(against)
        left = [row["method"] for row in rest if row["method"] not in beaten]
        all_others = f"all {len(rest)} other methods" if len(rest) > 1 else rest[0]["method"]
        if not left:
            return f"{leader} wins with {mean}: better than {all_others}."
        if beaten:
            return (
                f"{leader} leads with {mean}. It is better than {len(beaten)} of {len(rest)} "
                f"other methods, and not shown to be better than {_few(left)}."
            )
        counts = [against[name]["n"] for name in left if name in against]
        if counts and max(counts) < pairwise.ENOUGH:
            why = (
                f"{_seeds(list(against.values()))} are too few to call a method better, which "
                f"takes {pairwise.ENOUGH}"
            )
        else:
            why = f"it is not shown to be better than {_few(left)}"
        return f"No method is shown to win. {leader} has the best mean: {mean}; {why}."

    def _mean(self, row: Row) -> str:
        return f"{self.metric.label} {_estimate(row)} (n = {row['n']})"

    def _estimate(self, row: Row) -> str:
        """Mean and interval, with n where it is not the leader's."""
        n = "" if row["n"] == self.ranked[0]["n"] else f" (n = {row['n']})"
        return _estimate(row) + n

    def _evidence(self) -> Iterator[str]:
        leader = self.ranked[0]["method"]
        against = self._against(leader, 1.0, self.metric)
        yield from self._next(against)
        yield from self._shown(against)
        yield from self._open(leader, against)
        yield self._earlier()
        yield from self._confirmed(leader)
        for row in self._unranked():
            uses = self.study.method(row["method"]).uses
            ahead = ", ahead of the leader" if self._ahead(row) else ""
            yield f"Not ranked: {row['method']} with {self._estimate(row)}{ahead} (uses: {uses})."

    def _next(self, against: dict[str, Row]) -> Iterator[str]:
        for row in self.ranked[1:2]:
            text = f"Next is {row['method']} with {self._estimate(row)}"
            lead = against.get(row["method"])
            yield f"{text}: {self._lead(lead)}." if lead else f"{text}."

    def _shown(self, against: dict[str, Row]) -> Iterator[str]:
        beaten = [
            against[row["method"]]
            for row in self.ranked[1:]
            if row["method"] in against and against[row["method"]]["better"]
        ]
        if not beaten:
            return
        closest = beaten[0]
        text = (
            f"Better than {names([row['other'] for row in beaten])}: p <= "
            f"{_p(max(row['p_holm'] for row in beaten))} in paired t tests over {_seeds(beaten)}, "
            f"after Holm's correction for {closest['pairs']} pairs of methods"
        )
        if closest["other"] != self.ranked[1]["method"]:
            who = f" to {closest['other']}" if len(beaten) > 1 else ""
            text += f"; {self._lead(closest, who)}"
        yield f"{text}."

    def _open(self, leader: str, against: dict[str, Row]) -> Iterator[str]:
        rows = [against[row["method"]] for row in self.ranked[1:] if row["method"] in against]
        undecided = [row for row in rows if not row["better"]]
        few = [row for row in undecided if row["n"] < pairwise.ENOUGH]
        if few and len(few) < len(rows):
            yield (
                f"{_seeds(few)} in common with {names([row['other'] for row in few])} are too "
                f"few to call {leader} better, which takes {pairwise.ENOUGH}."
            )
        enough = [row for row in undecided if row["n"] >= pairwise.ENOUGH]
        if enough:
            least = min(row["p_holm"] for row in enough)
            yield (
                "Not shown to be better than these, nor equal to them (smallest corrected p "
                f"{_p(least)}): "
                + "; ".join(f"{row['other']}, {self._lead(row)}" for row in enough)
                + "."
            )

    def _lead(self, row: Row, to: str = "") -> str:
        """The difference or ratio of the leader to another with its interval, in words."""
        interval = formatting.estimate(row["effect"], row["low"], row["high"])
        kind = "ratio" if self.metric.log else "difference"
        return f"{kind}{to} {interval}, ahead on {row['wins']} of {row['n']} seeds"

    def _earlier(self) -> str:
        """Who is ahead at the earlier fractions of the budget."""
        parts: list[str] = []
        for fraction in pairwise.FRACTIONS[:-1]:
            ranked = self._ranked(self.metric, fraction)
            at = f"at {formatting.percent(fraction)}" + ("" if parts else " of the budget")
            if not ranked:
                parts.append(f"{at} nobody has a result")
                continue
            first = ranked[0]
            beaten = _beaten(self._against(first["method"], fraction, self.metric))
            parts.append(
                f"{at} {first['method']} is first with {self._estimate(first)}, "
                f"{_how_many(beaten, len(ranked) - 1)}"
            )
        return _sentence("; ".join(parts))

    def _confirmed(self, leader: str) -> Iterator[str]:
        """Whether the leads hold in the metric that nobody optimised."""
        second = self.study.task(self.task).confirmation
        if second is None:
            return
        ranked = self._ranked(second, 1.0)
        place = next(
            (number for number, row in enumerate(ranked, 1) if row["method"] == leader), None
        )
        if place is None:
            yield f"{second.label}, the second measure of the same, has no value for {leader}."
            return
        own = self._estimate(ranked[place - 1])
        text = f"In {second.label}, the second measure of the same, {leader} "
        text += f"is first too with {own}" if place == 1 else (
            f"is number {place} of {len(ranked)} with {own}, behind {ranked[0]['method']} with "
            f"{self._estimate(ranked[0])}"
        )  # fmt: skip
        won = _beaten(self._against(leader, 1.0, self.metric))
        if won:
            again = _beaten(self._against(leader, 1.0, second))
            lost = [name for name in won if name not in again]
            if lost:
                leads = "leads" if len(lost) > 1 else "lead"
                text += f"; its {leads} over {names(lost)} {_are(lost)} not shown there"
            else:
                leads = f"all its {len(won)} leads" if len(won) > 1 else "its lead"
                text += f"; {leads} {_are(won)} shown there as well"
        yield f"{text}."

    def _unfinished(self) -> Iterator[str]:
        runs = self.study.task(self.task).runs()
        begun = set(runs["method"])
        absent = [x for x in self.study.task(self.task).methods if x not in begun]
        if absent:
            yield f"Planned, but with no run yet: {names(absent)}."
        states = runs["status"].value_counts()
        unfinished = {state: int(n) for state, n in states.items() if state != "finished"}
        if unfinished:
            counts = ", ".join(f"{n} {state}" for state, n in unfinished.items())
            yield f"Not all runs are finished ({counts} of {len(runs)}), so all this may change."

    def _infinite(self) -> Iterator[str]:
        chosen = (self.quality["metric"] == self.metric.name) & (self.quality["fraction"] == 1.0)
        partial = self.quality[chosen & (self.quality["n"] < self.quality["runs"])]
        if len(partial):
            counts = ", ".join(
                f"{row['method']} {row['n']} of {row['runs']}" for row in partial.to_dict("records")
            )
            yield f"Not every run has delivered a finite value: {counts}."


def _beaten(against: dict[str, Row]) -> list[str]:
    return [other for other, row in against.items() if row["better"]]


def _how_many(beaten: Sequence[str], others: int) -> str:
    if not beaten:
        return "not shown to be better than any other" if others else "alone"
    if len(beaten) == others:
        return f"better than all {others} others" if others > 1 else "better than the other"
    return f"better than {len(beaten)} of {others} others"


def _estimate(row: Row) -> str:
    return formatting.estimate(row["mean"], row["low"], row["high"])


def _are(listed: Sequence[str]) -> str:
    return "are" if len(listed) > 1 else "is"


def _seeds(rows: Sequence[Row]) -> str:
    counts = sorted({int(row["n"]) for row in rows})
    if len(counts) == 1:
        return f"{counts[0]} seed{'s' if counts[0] != 1 else ''}"
    return f"{counts[0]} to {counts[-1]} seeds"


def names(listed: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]


def _few(listed: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    if len(listed) <= NAMED:
        return names(listed)
    kept = listed[: NAMED - 1]
    return f"{', '.join(kept)} and {len(listed) - len(kept)} more"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _p(value: float) -> str:
    if np.isnan(value):
        return "unknown"
    return f"{max(value, 1e-4):.2g}"
