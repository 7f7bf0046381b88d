"""What the page says of each task: its facts, its tables, its samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis import measures
from benchmark.analysis.verdict import TaskVerdict
from benchmark.display import formatting
from benchmark.display.figures import anytime
from benchmark.display.page import gallery, learned
from benchmark.study.model import NOT_RANKED, WHY_NOT_RANKED, Metric, Study, Unit

Row = dict[Any, Any]


@dataclass(frozen=True)
class Span:
    """A value and its interval on an axis from 0 to 100, cut off at its ends."""

    low: float
    value: float
    high: float

    @property
    def inside(self) -> bool:
        return 0 <= self.value <= 100

    @property
    def whisker(self) -> tuple[float, float] | None:
        """The visible part of the interval; None where there is nothing to see."""
        low, high = max(self.low, 0.0), min(self.high, 100.0)
        return (low, high) if low < high else None


@dataclass(frozen=True)
class Cell:
    """Text, and the number to sort by; cells without a value stand last."""

    text: str
    key: float | None = None
    method: int | None = None
    """Index of the method that the cell names."""
    span: Span | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table for one task; the first column names a method."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    ends: tuple[str, str] = ("", "")
    """What the axis of the spans goes from and to."""


@dataclass(frozen=True)
class Section:
    """Everything about one task."""

    task: str
    title: str
    headline: str
    """Who wins, or that nobody is shown to."""
    sentences: Sequence[str]
    """The evidence, and what else must be known."""
    description: str
    facts: Sequence[tuple[str, str]]
    quality: Table
    moments: Table
    pairs: Table
    costs: Table
    work: Table
    learned: learned.Learned | None
    gallery: gallery.Gallery | None


def overview(study: Study) -> list[tuple[str, str]]:
    """How much there is of what, and on which devices."""
    runs = study.runs
    states = runs["status"].value_counts()
    devices = runs["device"].astype(str).str.partition(": ")[2].replace("", "not stated")
    return [
        ("tasks", str(len(study.tasks))),
        ("methods", str(len(study.methods))),
        ("seeds", str(runs["seed"].nunique())),
        ("runs", ", ".join(f"{count} {state}" for state, count in states.items()) or "none"),
        ("device", ", ".join(sorted(set(devices))) or "-"),
    ]


def methods(study: Study) -> Table:
    """What each method is and uses."""
    rows = []
    for method in study.methods.values():
        texts = (
            method.description,
            method.uses,
            ", ".join(f"{name} = {value}" for name, value in method.options.items()),
            method.citation,
        )
        rows.append(
            [_name(study, method.label), *(Cell(text or formatting.MISSING) for text in texts)]
        )
    caption = "Uses: what the method sees beyond the space of variables."
    if len(study.ranked) < len(study.methods):
        caption += f" {NOT_RANKED.capitalize()}: {WHY_NOT_RANKED}."
    columns = ["method", "what it does", "uses", "options", "source"]
    return Table("Methods", caption, columns, rows)


def sections(study: Study, verdicts: Sequence[TaskVerdict]) -> list[Section]:
    """One per task."""
    quality = measures.quality(study)
    costs = measures.costs(study)
    usage = measures.usage(study)
    return [
        Section(
            task=task,
            title=_title(study, task),
            headline=verdict.headline,
            sentences=verdict.sentences,
            description=study.task(task).description,
            facts=_facts(study, task),
            quality=_quality(study, task, _of(quality, task)),
            moments=_moments(study, task, _of(quality, task)),
            pairs=_pairs(study, task, verdict.comparisons),
            costs=_costs(study, task, _of(costs, task)),
            work=_work(study, task, _of(usage, task)),
            learned=learned.learned(study, task),
            gallery=gallery.gallery(study, task),
        )
        for verdict in verdicts
        for task in [verdict.task]
    ]


def _of(frame: pd.DataFrame, task: str) -> pd.DataFrame:
    return frame[frame["task"] == task]


def _facts(study: Study, task: str) -> list[tuple[str, str]]:
    budget = study.task(task).budget
    runs = study.task(task).runs()
    variables = [variable.name for variable in study.task(task).variables]
    return [
        ("budget", formatting.duration(budget, study.task(task).unit)),
        ("seeds", str(runs["seed"].nunique())),
        ("tuned", ", ".join(variables)),
        ("measured by", study.task(task).evaluator),
    ]


def _rows(
    study: Study, frame: pd.DataFrame, cells: Callable[[Row], Iterable[Cell]]
) -> list[list[Cell]]:
    """One row per method that has a run on the task."""
    return [[_name(study, row["method"]), *cells(row)] for row in frame.to_dict("records")]


def _name(study: Study, method: str) -> Cell:
    index = list(study.methods).index(method)
    note = "" if study.method(method).ranked else NOT_RANKED
    return Cell(method, index, method=index, note=note)


def _estimate(row: Row) -> Cell:
    text = formatting.estimate(row["mean"], row["low"], row["high"])
    return Cell(text, _key(row["mean"]))


def _key(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _quality(study: Study, task: str, quality: pd.DataFrame) -> Table:
    final = quality[(quality["fraction"] == 1.0) & (quality["runs"] > 0)]
    first, *others = study.task(task).metrics
    values = {(row["method"], row["metric"]): row for row in final.to_dict("records")}
    primary = final[final["metric"] == first.name]
    limits = _limits(study, primary, first)

    def cells(row: Row) -> Iterable[Cell]:
        yield _estimate(row)
        yield Cell("", _key(row["mean"]), span=_span(row, limits, first.log))
        yield Cell(f"{row['n']}/{row['runs']}", row["n"])
        for metric in others:
            yield _estimate(values[row["method"], metric.name])

    scale = "log scale" if any(metric.log for metric in (first, *others)) else ""
    caption = (
        "What each method delivers at the end of the budget: mean over n of all runs and 95 % "
        "Student-t interval" + (f" (metrics on a {scale}: geometric mean)" if scale else "") + "."
    )
    columns = ["method", first.title, "interval", "n", *(metric.title for metric in others)]
    ends = (formatting.number(limits[0], 2), formatting.number(limits[1], 2))
    return Table("At the end of the budget", caption, columns, _rows(study, primary, cells), ends)


def _limits(study: Study, rows: pd.DataFrame, metric: Metric) -> tuple[float, float]:
    """An axis that holds the ranked methods' values and intervals, apart from hopeless ones."""
    ranked = rows[rows["method"].isin(study.ranked)]
    ends = (rows if ranked.empty else ranked)[["low", "mean", "high"]].to_numpy(float)
    known = [row[np.isfinite(row)] for row in ends if np.isfinite(row).any()]
    return anytime.focus(known, metric) if known else (0.0, 1.0)


def _span(row: Row, limits: tuple[float, float], log: bool) -> Span | None:
    if math.isnan(row["mean"]):
        return None
    scale = math.log if log else float
    start, end = map(scale, limits)

    def place(value: float) -> float:
        return 100 * (scale(value) - start) / (end - start) if math.isfinite(value) else math.nan

    return Span(place(row["low"]), place(row["mean"]), place(row["high"]))


def _moments(study: Study, task: str, quality: pd.DataFrame) -> Table:
    metric = study.task(task).primary
    shown = quality[(quality["metric"] == metric.name) & (quality["runs"] > 0)]
    values = {(row["method"], row["fraction"]): row for row in shown.to_dict("records")}

    def cells(row: Row) -> Iterable[Cell]:
        for fraction in measures.FRACTIONS:
            at = values[row["method"], fraction]
            cell = _estimate(at)
            few = 0 < at["n"] < row["n"]
            yield Cell(f"{cell.text} (n = {at['n']})", cell.key) if few else cell

    caption = f"{metric.title} of what each method would deliver at shares of the budget."
    columns = ["method", *(formatting.percent(share) for share in measures.FRACTIONS)]
    final = shown[shown["fraction"] == 1.0]
    return Table("Over the budget", caption, columns, _rows(study, final, cells))


def _title(study: Study, task: str) -> str:
    """Primary metric and budget of a task."""
    own = study.task(task)
    time = formatting.duration(own.budget, own.unit)
    return f"{own.primary.title}, {time} of {own.unit.device} time"


def _pairs(study: Study, task: str, comparisons: pd.DataFrame) -> Table:
    """Pairs of ranked methods at the end of the budget, the better mean first, the best on top."""
    metric = study.task(task).primary
    chosen = comparisons["metric"] == metric.name
    level = 1.0 if metric.log else 0.0
    sign = 1 if metric.higher_is_better else -1
    lead = sign * (comparisons["effect"] - level)
    level_once = (lead == 0) & (comparisons["method"] < comparisons["other"])
    ahead = comparisons[chosen & ((lead > 0) | level_once)]
    worse = ahead["method"].map(-ahead["method"].value_counts())
    ahead = ahead.loc[worse.sort_values(kind="stable").index]
    kind = "ratio" if metric.log else "difference"

    def cells(row: Row) -> Iterable[Cell]:
        yield _name(study, row["other"])
        yield Cell(formatting.estimate(row["effect"], row["low"], row["high"]), row["effect"])
        yield Cell(formatting.number(row["p_holm"], 2), _key(row["p_holm"]))
        yield Cell(f"{row['wins']}/{row['n']}", row["wins"])
        yield Cell("yes" if row["better"] else "not shown")

    caption = (
        f"{metric.title} at the end of the budget, seed by seed: {kind} of the two with 95 % "
        "Student-t interval, p value of the exact sign-flip test after Holm's correction over all "
        "pairs, seeds on which the first is ahead. Exploratory: better means a p below 0.05, an "
        "effect that matters, and a second measure that agrees."
    )
    columns = ["method", "against", kind, "p (Holm)", "ahead on seeds", "better"]
    return Table("Pairs of methods", caption, columns, _rows(study, ahead, cells))


def _costs(study: Study, task: str, costs: pd.DataFrame) -> Table:
    unit = study.task(task).unit
    goals = costs.drop_duplicates("target")
    by_method = {(row["method"], row["target"]): row for row in costs.to_dict("records")}

    def cells(row: Row) -> Iterable[Cell]:
        for target in goals["target"]:
            yield _cost(by_method[row["method"], target], unit)

    caption = (
        "Device time until the primary metric is as good as what others deliver at the end of "
        "the budget: expected running time (cost of all runs over successes) with 95 % "
        "chi-squared interval, and successes of runs; > where no run got there."
    )
    columns = ["method", *map(_goal, goals.to_dict("records"))]
    rows = costs[costs["runs"] > 0].drop_duplicates("method")
    return Table("Cost to a target", caption, columns, _rows(study, rows, cells))


def _goal(row: Row) -> str:
    return f"{row['target']}: {formatting.number(row['value'])}"


def _cost(row: Row, unit: Unit) -> Cell:
    share = f"{row['successes']}/{row['runs']}"
    if row["successes"]:
        times = (row[part] * unit.per_hour for part in ("gpu_hours", "low", "high"))
        return Cell(f"{formatting.estimate(*times)} {unit.name} ({share})", row["gpu_hours"])
    return Cell(f"> {formatting.duration(row['censored'], unit)} ({share})", math.inf)


def _work(study: Study, task: str, usage: pd.DataFrame) -> Table:
    unit = study.task(task).unit
    counted = ("nfe", "train_images", "scored_images", "trials", "reports")

    def cells(row: Row) -> Iterable[Cell]:
        yield Cell(formatting.duration(row["gpu_hours"], unit), _key(row["gpu_hours"]))
        for name in counted:
            yield Cell(formatting.count(row[name]), _key(row[name]))
        yield Cell(row["status"])

    caption = (
        "Work of a run: means over runs that have not failed. Used: charged time; NFE: network "
        "evaluations."
    )
    columns = [
        "method", "used", "NFE", "train images", "scored images", "trials", "reports",
        "runs",
    ]  # fmt: skip
    return Table("Work of a run", caption, columns, _rows(study, usage, cells))
