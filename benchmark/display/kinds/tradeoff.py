"""Which compromise of the two rewards each method chooses.

The line is the task's stored landscape: under-optimised where the strength is large,
over-optimised where it is small. Without one, the choices are drawn alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.analysis import statistics
from benchmark.display import style
from benchmark.display.chart import Axis, Chart, Look, Note, Panel, Series, limits, widened
from benchmark.display.formatting import number
from benchmark.display.kinds import words
from benchmark.display.kinds.anytime import focus
from benchmark.study.model import Metric, Study, Task

TITLE = "Which compromise of the rewards does each method choose?"
LINE = "landscape"
NAMED = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Strengths named on a curve that has no axis for them."""


def draw(study: Study, task: Task) -> Chart | None:
    """The primary metric against the strength, if there is one for all, and against the second
    metric. None for other families, without anything for the x axis, and without a choice."""
    if not task.family.startswith("finetune"):
        return None
    metric = task.primary
    across = list(task.metrics[1:2])
    if len(task.variables) == 1:
        strength = task.variables[0]
        across.insert(0, Metric(f"param:{strength.name}", "λ", log=True))
    finals = final_values(task, [metric, *across])
    if finals.empty or not across:
        return None
    present = finals.index.get_level_values("method")
    looks = {label: look for label, look in style.looks(study).items() if label in set(present)}
    means = [_centre(finals.loc[[label], metric.name], metric.log) for label in looks]
    points = _landscape(task, [metric, *across])
    low, high = _limits(metric, means, points)
    panels = [_panel(task, finals, points, metric, x, looks, (low, high)) for x in across]
    drawn = {LINE: Look("stored landscape, one seed", "#999999", dash=(), marker=".")}
    return Chart(
        "tradeoff", TITLE, _note(study, task, finals, points),
        looks | (drawn if len(points) else {}), panels, height=2.3,
    )  # fmt: skip


def final_values(task: Task, columns: list[Metric]) -> pd.DataFrame:
    """`columns` at the last evaluated incumbent of every run, by method and seed; only runs that
    are finite, and positive on log axes, in all of them."""
    rows = {}
    for label in task.methods:
        for trace in task.trace(label, columns[0].name):
            last = trace.hours[-1]
            values = [
                float(own.at(last))
                for column in columns
                for own in task.trace(label, column.name)
                if own.seed == trace.seed
            ]
            logs = [column.log for column in columns]
            if len(values) == len(columns) and all(
                np.isfinite(value) and (value > 0 or not log)
                for value, log in zip(values, logs, strict=True)
            ):
                rows[label, trace.seed] = values
    index = pd.MultiIndex.from_tuples(list(rows), names=["method", "seed"])
    names = [column.name for column in columns]
    return pd.DataFrame(list(rows.values()), index=index if rows else None, columns=names)


def _centre(values: pd.Series, log: bool) -> float:
    return float(statistics.mean_interval(values.to_numpy(float), log).value)


def _landscape(task: Task, columns: list[Metric]) -> pd.DataFrame:
    """The stored points in `columns` and the strength, from the smallest strength on."""
    stored = (task.landscape or {}).get("points", [])
    strengths = {column.name: "lambda" for column in columns if column.name.startswith("param:")}
    rows = [
        {"lambda": point.get("lambda", np.nan)}
        | {c.name: point.get(strengths.get(c.name, c.name), np.nan) for c in columns}
        for point in stored
    ]
    names = ["lambda", *(column.name for column in columns)]
    points = pd.DataFrame(rows, columns=names, dtype=float)
    points = points.dropna().sort_values("lambda")
    return points if len(points) > 1 else points.iloc[:0]


def _limits(metric: Metric, means: list[float], points: pd.DataFrame) -> tuple[float, float]:
    """The value axis: the methods, and the landscape but for its over-optimised end, which may be
    so bad that it would hide the rest."""
    low, high = focus([np.array([mean]) for mean in means], metric)
    if points.empty:
        return low, high
    values = points[metric.name].to_numpy()
    best = values.max() if metric.higher_is_better else values.min()
    ends = limits([[values[-1], best]], metric.log, room=0.07)
    return min(low, ends[0]), max(high, ends[1])


def _panel(
    task: Task,
    finals: pd.DataFrame,
    points: pd.DataFrame,
    metric: Metric,
    across: Metric,
    looks: dict[str, Look],
    span: tuple[float, float],
) -> Panel:
    is_strength = across.name.startswith("param:")
    series, notes = [], []
    inside = points[points[metric.name].between(*span)]
    if len(points):
        line = points[across.name].to_numpy(float), points[metric.name].to_numpy(float)
        series.append(Series(LINE, *line, join="line"))
        notes = [
            Note(f"λ = {row['lambda']:g}", row[metric.name], row[across.name])
            for row in inside.to_dict("records")
            if not is_strength and np.isclose(row["lambda"], NAMED, rtol=0.02).any()
        ]
    off = []
    for label, look in looks.items():
        own = finals.loc[[label]]
        x, y = own[across.name], own[metric.name]
        up = _centre(y, metric.log)
        if not span[0] <= up <= span[1]:
            off.append(f"{look.name} ({number(up)})")
            continue
        series.append(
            Series(
                label, np.array([_centre(x, across.log)]), np.array([up]),
                np.array([y.min()]), np.array([y.max()]),
                np.array([x.min()]), np.array([x.max()]), np.array([len(own)]),
            )
        )  # fmt: skip
    if is_strength:
        variable = task.variables[0]
        low, high = widened(variable.low, variable.high, log=True)
        title, label = "against the strength", "λ: over-optimised ←→ under-optimised"
    else:
        ends = [part for one in series for part in (one.left, one.right) if part is not None]
        low, high = limits([*ends, inside[across.name]], across.log)
        title, label = f"against {across.label}", across.title
    if len(points) and not span[0] <= points[metric.name].iloc[0] <= span[1]:
        first = points.iloc[0]
        off.append(f"λ = {first['lambda']:g} ({number(first[metric.name])})")
    return Panel(
        title, Axis(label, across.log, low, high), Axis(metric.title, metric.log, *span),
        series, notes=notes, remark=f"off the axis: {words.few(off)}" if off else "",
    )  # fmt: skip


def _note(study: Study, task: Task, finals: pd.DataFrame, points: pd.DataFrame) -> str:
    counts = finals.groupby(level="method").size()
    text = f"{task.name}. Marks: what the methods deliver at the end, {words.seeds(counts)}"
    if counts.max() > 1:
        text += ": mean (geometric on a log axis), bars from the smallest to the largest seed"
    if points.empty:
        text += ". No landscape is stored for this task"
    else:
        text += f". Line: the same metrics at {len(points)} stored strengths, one seed"
        if len(task.variables) > 1:
            text += ", all classes at the same one"
        elif counts.max() > 1:
            text += "; a mean of seeds on both sides of the optimum lies below it"
    present = finals.index.get_level_values("method").unique()
    return f"{text}.{words.unfinished(study)}{words.not_ranked(study, present)}"
