"""The numbers behind the interactive curves, and the same as a still picture."""

from __future__ import annotations

import base64
import io
import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg

from benchmark.analysis import statistics
from benchmark.analysis.curves import Curve, align
from benchmark.display import style
from benchmark.display.figures import anytime
from benchmark.study.model import Metric, Study

REPORTED_POINTS = 160
VARIABLE_POINTS = 48
"""Moments kept of a curve: its values there are exact, what lies between is left out."""
DIGITS = 7
STATIC_DPI = 110

Array = npt.NDArray[np.float64]
Series = dict[str, Any]


def charts(study: Study) -> list[dict[str, Any]]:
    """One per task; see `_chart`."""
    return [_chart(study, task) for task in study.tasks]


def _chart(study: Study, task: str) -> dict[str, Any]:
    """All series of a task: its reported metrics, then its upper-level variables.

    A series has `curves[method index]` with `x` (device time in the task's unit), `y`, `low`,
    `high` (mean and 95 % interval over seeds) and `n`, null where not known.
    """
    unit = study.task(task).unit
    banded = anytime.banded_methods(study, task, list(study.methods))
    names = list(study.methods)
    return {
        "task": task,
        "unit": unit.name,
        "time": unit.label,
        "budget": _rounded(study.task(task).budget * unit.per_hour),
        "banded": [index for index, name in enumerate(names) if name in banded],
        "crowd": anytime.CROWD,
        "shownFrom": anytime.SHOWN_FROM,
        "timeRange": anytime.TIME_RANGE,
        "series": [*_reported(study, task), *_variables(study, task)],
    }


def _reported(study: Study, task: str) -> list[Series]:
    per_hour = study.task(task).unit.per_hour
    budget = study.task(task).budget
    series = []
    for metric in study.task(task).metrics:
        late: list[Array] = []
        curves = {}
        for index, method in enumerate(list(study.methods)):
            curve = align(study.task(task).trace(method, metric.name))
            if curve is not None:
                curves[index] = _curve(curve, metric.log, per_hour, REPORTED_POINTS)
                late.append(_late(curve, metric, budget))
        if curves:
            focus = anytime.focus(late, metric)
            series.append(_series("Reported metrics", metric.title, metric.log, curves, focus))
    return series


def _variables(study: Study, task: str) -> list[Series]:
    """What the delivered candidate's parameters are, and what it shows beside them."""
    per_hour = study.task(task).unit.per_hour
    logs = {f"param:{v.name}": v.log for v in study.task(task).variables}
    shown = sorted(
        {name for at, _, name in study.traces if at == task and name.startswith("shown:")}
    )
    scales = {name: log for known, log in logs.items() for name in shown if _is_of(name, known)}
    series = []
    for name in (*logs, *shown):
        log = logs.get(name, scales.get(name, False))
        curves = {
            index: _curve(curve, log, per_hour, VARIABLE_POINTS)
            for index, method in enumerate(list(study.methods))
            if (curve := align(study.task(task).trace(method, name))) is not None
        }
        if curves:
            title = name.partition(":")[2]
            series.append(_series("Tuned variables", title, log, curves, None))
    return series


def _is_of(shown: str, variable: str) -> bool:
    """Whether `shown:ROLE: NAME` is a value of `param:NAME`, and so on its scale."""
    return shown.endswith(": " + variable.removeprefix("param:"))


def _series(
    group: str, label: str, log: bool, curves: dict[int, Series], focus: tuple[float, float] | None
) -> Series:
    limits = None if focus is None else [_rounded(limit) for limit in focus]
    return {"group": group, "label": label, "log": log, "focus": limits, "curves": curves}


def _late(curve: Curve, metric: Metric, budget: float) -> Array:
    late = curve.hours >= min(anytime.SHOWN_FROM * budget, curve.hours[-1])
    return statistics.mean_interval(curve.values[:, late], metric.log).value


def _curve(curve: Curve, log: bool, per_hour: float, points: int) -> Series:
    kept = thinned(curve.hours, points)
    estimate = statistics.mean_interval(curve.values[:, kept], log)
    return {
        "x": [_rounded(hours * per_hour) for hours in curve.hours[kept]],
        "y": [_rounded(value) for value in estimate.value],
        "low": [_rounded(value) for value in estimate.low],
        "high": [_rounded(value) for value in estimate.high],
        "n": estimate.n.tolist(),
    }


def thinned(hours: Array, points: int) -> npt.NDArray[np.int64]:
    """Indices of at most `points` of the increasing `hours`, both ends among them.

    Half are even in time and half in its logarithm, so that both axes look smooth.
    """
    if len(hours) <= points:
        return np.arange(len(hours))
    even = np.linspace(hours[0], hours[-1], points - points // 2)
    ratios = np.geomspace(max(hours[0], hours[-1] * 1e-9), hours[-1], points // 2)
    nearest = np.searchsorted(hours, np.concatenate([even, ratios]), side="right") - 1
    return np.unique(np.clip([0, *nearest, len(hours) - 1], 0, len(hours) - 1))


def static(study: Study) -> str | None:
    """The anytime figure as a data URI, for readers without scripts; None without any result."""
    if not study.traces:
        return None
    with style.applied(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # very long names leave no room for panels
        figure = anytime.draw(study)
        figure.set_dpi(STATIC_DPI)
        buffer = io.BytesIO()
        FigureCanvasAgg(figure).print_png(buffer)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
