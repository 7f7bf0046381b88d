"""What the results say, in words: who is ahead on each task, by how much, and how sure that is.

Sentences are made from `measures.quality` and `pairwise.compare` alone, and say what cannot be
concluded as plainly as what can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis import contents, formatting, measures, pairwise
from benchmark.analysis.curves import traces
from benchmark.results import Results

Row = dict[Any, Any]


@dataclass(frozen=True)
class TaskVerdict:
    """The summary of one task."""

    task: str
    title: str
    """Name of the task with its primary metric and budget."""
    sentences: list[str]
    """Plain text; methods and tasks as they are called, without markup."""
    comparisons: pd.DataFrame
    """The task's rows of `pairwise.compare`: all pairs, metrics and fractions."""


def verdicts(results: Results) -> list[TaskVerdict]:
    """One verdict per task, in the suite's order."""
    found = traces(results)
    quality = measures.quality(results, found)
    compared = pairwise.compare(results, found)
    return [
        _Summary(results, task, quality, compared[compared["task"] == task]).verdict()
        for task in contents.task_names(results)
    ]


class _Summary:
    """The sentences of one task."""

    def __init__(
        self, results: Results, task: str, quality: pd.DataFrame, compared: pd.DataFrame
    ) -> None:
        self.results, self.task, self.compared = results, task, compared
        self.quality = quality[quality["task"] == task]
        self.metric = contents.primary(results, task)
        self.budget = contents.budget(results, task)

    def verdict(self) -> TaskVerdict:
        time = formatting.duration(self.budget, contents.unit(self.results, self.task))
        title = f"{self.task}: {self.metric.title}, {time} of {self._device} time"
        return TaskVerdict(self.task, title, list(self._sentences()), self.compared)

    @property
    def _device(self) -> str:
        return contents.unit(self.results, self.task).device

    def _sentences(self) -> Iterator[str]:
        ranked = self._ranked(self.metric, 1.0)
        if not ranked:
            yield "No run has delivered anything yet, so nothing can be said."
            return
        leader = ranked[0]["method"]
        yield self._first(ranked)
        yield from self._certain(leader, ranked)
        yield from self._open(leader, ranked)
        yield from self._earlier(leader)
        yield from self._confirmed(leader)
        yield from self._hindsight(leader)
        yield from self._missing()

    def _ranked(self, metric: contents.Metric, fraction: float) -> list[Row]:
        """Rows of `quality` of the rivals that have a value, the best first."""
        chosen = (self.quality["metric"] == metric.name) & (self.quality["fraction"] == fraction)
        chosen &= self.quality["method"].isin(contents.rivals(self.results))
        rows = self.quality[chosen & (self.quality["n"] > 0)]
        ordered = rows.sort_values("mean", ascending=not metric.higher_is_better, kind="stable")
        return ordered.to_dict("records")

    def _against(self, leader: str, fraction: float, metric: contents.Metric) -> dict[str, Row]:
        """The leader's comparisons by the other's name."""
        table = self.compared
        chosen = (table["method"] == leader) & (table["fraction"] == fraction)
        rows = table[chosen & (table["metric"] == metric.name)].to_dict("records")
        return {row["other"]: row for row in rows}

    def _first(self, ranked: list[Row]) -> str:
        first, rest = ranked[0], ranked[1:]
        text = (
            f"At the end of the budget {first['method']} has the best mean {self.metric.label}, "
            f"{_estimate(first)} (n = {first['n']}, 95 % t)"
        )
        if not rest:
            return f"{text}; it is the only method with results."
        second = rest[0]
        text += f"; next is {second['method']} with {_estimate(second)} (n = {second['n']})"
        lead = self._against(first["method"], 1.0, self.metric).get(second["method"])
        return f"{text}: {self._lead(lead)}, 95 % t over pairs of seeds." if lead else f"{text}."

    def _certain(self, leader: str, ranked: list[Row]) -> Iterator[str]:
        against = self._against(leader, 1.0, self.metric)
        beaten = [row for row in against.values() if row["better"]]
        if not beaten:
            return
        order = [row["method"] for row in ranked]
        beaten.sort(key=lambda row: order.index(row["other"]))
        closest = beaten[0]
        yield (
            f"{leader} is better than {_names([row['other'] for row in beaten])}: paired t tests "
            f"over {_seeds(beaten)}, p <= {_p(max(row['p_holm'] for row in beaten))} after Holm's "
            f"correction for {closest['pairs']} pairs of methods. The best of them is "
            f"{closest['other']}: {self._lead(closest)}."
        )

    def _open(self, leader: str, ranked: list[Row]) -> Iterator[str]:
        against = self._against(leader, 1.0, self.metric)
        undecided = [
            against[row["method"]]
            for row in ranked[1:]
            if row["method"] in against and not against[row["method"]]["better"]
        ]
        few = [row for row in undecided if row["n"] < pairwise.ENOUGH]
        if few:
            yield (
                f"With {_seeds(few)} no claim of better is made, against "
                f"{_names([row['other'] for row in few])}: that needs {pairwise.ENOUGH} seeds."
            )
        overlapping = [row for row in undecided if row["n"] >= pairwise.ENOUGH]
        if overlapping:
            least = min(row["p_holm"] for row in overlapping)
            yield (
                f"Whether {leader} is better than these cannot be concluded (the smallest "
                f"corrected p is {_p(least)}), nor that they are equal: "
                + "; ".join(f"{row['other']}, {self._lead(row)}" for row in overlapping)
                + "."
            )

    def _lead(self, row: Row) -> str:
        """The difference or ratio of the leader to another with its interval, in words."""
        interval = formatting.estimate(row["effect"], row["low"], row["high"])
        kind = "ratio" if self.metric.log else "difference"
        return f"{kind} {interval}, ahead on {row['wins']} of {row['n']} seeds"

    def _earlier(self, leader: str) -> Iterator[str]:
        """Who is ahead at the earlier fractions of the budget."""
        for fraction in pairwise.FRACTIONS[:-1]:
            ranked = self._ranked(self.metric, fraction)
            if not ranked:
                yield f"At {formatting.percent(fraction)} of the budget nobody has a result."
                continue
            first = ranked[0]
            name = first["method"]
            beaten = _beaten(self._against(name, fraction, self.metric))
            yield (
                f"At {formatting.percent(fraction)} of the budget {name} is "
                f"{'already ' if name == leader else ''}first with {_estimate(first)} "
                f"(n = {first['n']}), {_how_many(beaten, len(ranked) - 1)}."
            )

    def _confirmed(self, leader: str) -> Iterator[str]:
        """Whether the leads hold in the metric that nobody optimised."""
        second = contents.confirmation(self.results, self.task)
        if second is None:
            return
        ranked = self._ranked(second, 1.0)
        place = next(
            (number for number, row in enumerate(ranked, 1) if row["method"] == leader), None
        )
        if place is None:
            yield f"{second.label}, the second measure of the same, has no value for {leader}."
            return
        own = ranked[place - 1]
        ahead = f"is first of {len(ranked)} there too" if place == 1 else (
            f"is number {place} of {len(ranked)} there, behind {ranked[0]['method']} with "
            f"{_estimate(ranked[0])}"
        )  # fmt: skip
        text = f"{second.label}: {leader} has {_estimate(own)} (n = {own['n']}) and {ahead}"
        won = _beaten(self._against(leader, 1.0, self.metric))
        if won:
            again = _beaten(self._against(leader, 1.0, second))
            kept = [name for name in won if name in again]
            lost = [name for name in won if name not in again]
            text += f"; of its {len(won)} certain leads {len(kept)} are confirmed"
            text += f", the one over {_names(lost)} not" if len(lost) == 1 else (
                f", those over {_names(lost)} not" if lost else ""
            )  # fmt: skip
        yield f"{text}."

    def _hindsight(self, leader: str) -> Iterator[str]:
        chosen = (self.quality["metric"] == self.metric.name) & (self.quality["fraction"] == 1.0)
        finals = self.quality[chosen & (self.quality["n"] > 0)].set_index("method")
        for method in contents.method_names(self.results):
            if method in finals.index and not contents.is_rival(self.results, method):
                row = finals.loc[method].to_dict()
                uses = self.results.methods[method].get("uses", "not stated")
                yield (
                    f"{method} reaches {_estimate(row)} (n = {row['n']}) and is not counted, for "
                    f"it is no rival (uses: {uses})."
                )

    def _missing(self) -> Iterator[str]:
        runs = contents.runs_of(self.results, self.task)
        begun = set(runs["method"])
        absent = [x for x in contents.methods_on(self.results, self.task) if x not in begun]
        if absent:
            yield f"Planned, but with no run yet: {_names(absent)}."
        states = runs["status"].value_counts()
        unfinished = {state: int(n) for state, n in states.items() if state != "finished"}
        if unfinished:
            counts = ", ".join(f"{n} {state}" for state, n in unfinished.items())
            yield f"Not all runs are finished ({counts} of {len(runs)}), so all this may change."
        chosen = (self.quality["metric"] == self.metric.name) & (self.quality["fraction"] == 1.0)
        partial = self.quality[chosen & (self.quality["n"] < self.quality["runs"])]
        if len(partial):
            counts = ", ".join(
                f"{row['method']} {row['n']} of {row['runs']}" for row in partial.to_dict("records")
            )
            yield f"Runs with a finite value, where not all have one: {counts}."


def _beaten(against: dict[str, Row]) -> list[str]:
    return [other for other, row in against.items() if row["better"]]


def _how_many(beaten: Sequence[str], others: int) -> str:
    if not beaten:
        return "not certainly ahead of anyone" if others else "alone"
    if len(beaten) == others:
        return f"certainly ahead of all {others} others"
    return f"certainly ahead of {len(beaten)} of {others} others"


def _estimate(row: Row) -> str:
    return formatting.estimate(row["mean"], row["low"], row["high"])


def _seeds(rows: Sequence[Row]) -> str:
    counts = sorted({int(row["n"]) for row in rows})
    if len(counts) == 1:
        return f"{counts[0]} seed{'s' if counts[0] != 1 else ''}"
    return f"{counts[0]} to {counts[-1]} seeds"


def _names(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _p(value: float) -> str:
    if np.isnan(value):
        return "unknown"
    return f"{max(value, 1e-4):.2g}"
