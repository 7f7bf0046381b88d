"""Which compromise of the two rewards each method chooses.

The line is the task's stored landscape: under-optimised where the strength is large,
over-optimised where it is small. Without one, the choices are drawn alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.analysis import statistics
from benchmark.display import style
from benchmark.display.chart import Axis, Chart, Look, Panel, Series, limits, widened
from benchmark.display.formatting import number
from benchmark.display.kinds import words
from benchmark.display.kinds.anytime import focus
from benchmark.study.model import Metric, Study, Task

TITLE = "Which compromise of the rewards does each method choose?"
LINE = "landscape"
STRENGTH = "lambda"
Range = tuple[float, float]


def draw(study: Study, task: Task) -> Chart | None:
    """The primary metric against the strength, if there is one for all, and against the second
    metric. None for other families, without anything for the x axis, and without a choice."""
    if not task.family.startswith("finetune"):
        return None
    metric = task.primary
    across = list(task.metrics[1:2])
    if len(task.variables) == 1:
        across.insert(0, Metric(f"param:{task.variables[0].name}", "λ", log=True))
    finals = final_values(task, [metric, *across])
    if finals.empty or not across:
        return None
    labels = set(finals.index.get_level_values("method"))
    looks = {label: look for label, look in style.looks(study).items() if label in labels}
    points = _landscape(task, [metric, *across])
    means = [_centre(finals.loc[[label], metric.name], metric) for label in looks]
    span = _value_range(metric, means, points)
    panels = [_panel(task, finals, points, x, looks, span) for x in across]
    note = _note(task, finals, points) + words.unfinished(study) + style.not_ranked(study, labels)
    if len(points):
        looks[LINE] = Look("stored landscape, one seed", "#999999", marker=".")
    return Chart("tradeoff", TITLE, note, looks, panels)


def final_values(task: Task, columns: Sequence[Metric]) -> pd.DataFrame:
    """`columns` at the last evaluated incumbent of every run, by method and seed; only runs that
    are finite, and positive on log axes, in all of them."""
    rows = {
        (label, trace.seed): {
            column.name: float(own.at(trace.hours[-1]))
            for column in columns
            for own in task.trace(label, column.name)
            if own.seed == trace.seed
        }
        for label in task.methods
        for trace in task.trace(label, columns[0].name)
    }
    index = pd.MultiIndex.from_tuples(list(rows), names=["method", "seed"]) if rows else None
    names = [column.name for column in columns]
    table = pd.DataFrame(list(rows.values()), index=index, columns=names, dtype=float)
    positive = table[[column.name for column in columns if column.log]] > 0
    kept: pd.DataFrame = table[positive.all(axis=1)].replace([np.inf, -np.inf], np.nan).dropna()
    return kept


def _centre(values: pd.Series, metric: Metric) -> float:
    return float(statistics.mean_interval(values.to_numpy(float), metric.log).value)


def _landscape(task: Task, columns: Sequence[Metric]) -> pd.DataFrame:
    """The stored points in `columns` and the strength, from the smallest strength on."""
    keys = {c.name: STRENGTH if c.name.startswith("param:") else c.name for c in columns}
    rows = [
        {STRENGTH: point.get(STRENGTH)} | {name: point.get(key) for name, key in keys.items()}
        for point in (task.landscape or {}).get("points", [])
    ]
    points = pd.DataFrame(rows, columns=[STRENGTH, *keys], dtype=float)
    points = points.dropna().sort_values(STRENGTH)
    return points if len(points) > 1 else points.iloc[:0]


def _value_range(metric: Metric, means: list[float], points: pd.DataFrame) -> Range:
    """The value axis: the methods, and the landscape but for its over-optimised end, which may be
    so bad that it would hide the rest."""
    low, high = focus([np.array([mean]) for mean in means], metric)
    if points.empty:
        return low, high
    values = points[metric.name]
    best = values.max() if metric.higher_is_better else values.min()
    ends = limits([[values.iloc[-1], best]], metric.log, room=0.07)
    return min(low, ends[0]), max(high, ends[1])


def _panel(
    task: Task,
    finals: pd.DataFrame,
    points: pd.DataFrame,
    across: Metric,
    looks: dict[str, Look],
    span: Range,
) -> Panel:
    metric = task.primary
    inside = points[points[metric.name].between(*span)]
    drawn = [_mark(finals.loc[[label]], label, across, metric) for label in looks]
    beyond = [one for one in drawn if not span[0] <= one.y[0] <= span[1]]
    off = [f"{looks[one.look].name} ({number(one.y[0])})" for one in beyond]
    series = [one for one in drawn if span[0] <= one.y[0] <= span[1]]
    if across.name.startswith("param:"):
        (variable,) = task.variables
        low, high = widened(variable.low, variable.high, log=True)
        title, label = "against the strength", "λ: over-optimised ←→ under-optimised"
    else:
        ends = [part for one in series for part in (one.left, one.right) if part is not None]
        low, high = limits([*ends, inside[across.name]], across.log)
        title, label = f"against {across.label}", across.title
    if len(points):
        x, y = (points[column.name].to_numpy(float) for column in (across, metric))
        series.insert(0, Series(LINE, x, y, join="line"))
        if not span[0] <= y[0] <= span[1]:
            off.append(f"λ = {points[STRENGTH].iloc[0]:g} ({number(y[0])})")
    value = Axis(metric.title, metric.log, *span)
    position = Axis(label, across.log, low, high)
    return Panel(title, position, value, series, remark=words.off_axis(off))


def _mark(own: pd.DataFrame, label: str, across: Metric, metric: Metric) -> Series:
    """A method's mean with the range of its seeds in both metrics."""
    x, y = own[across.name], own[metric.name]
    numbers = (_centre(x, across), _centre(y, metric), y.min(), y.max(), x.min(), x.max())
    middle, height, low, high, left, right = (np.array([value]) for value in numbers)
    return Series(label, middle, height, low, high, left, right, n=np.array([len(own)]))


def _note(task: Task, finals: pd.DataFrame, points: pd.DataFrame) -> str:
    counts = finals.groupby(level="method").size()
    text = f"{task.name}. Marks: what the methods deliver at the end, {words.seeds(counts)}"
    if counts.max() > 1:
        text += ": mean (geometric on a log axis), bars from the smallest to the largest seed"
    if points.empty:
        return f"{text}. No landscape is stored for this task."
    text += f". Line: the same metrics at {len(points)} stored strengths, one seed"
    if len(task.variables) > 1:
        return f"{text}, all classes at the same one."
    return f"{text}; a mean of seeds on both sides of the optimum lies below it."
