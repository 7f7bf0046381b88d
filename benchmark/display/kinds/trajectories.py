"""How the tuned variables move over the budget."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.display import style
from benchmark.display.chart import Axis, Chart, Panel, Rule, Series, widened
from benchmark.study.model import Study, Task, Variable

TITLE = "How do the tuned variables move?"


def draw(study: Study, task: Task) -> Chart | None:
    """One panel per variable; None if no run has delivered anything on the task."""
    found = {label: representative(task, label) for label in task.methods}
    seeds = {label: seed for label, seed in found.items() if seed is not None}
    if not seeds or not task.variables:
        return None
    looks = {label: look for label, look in style.looks(study).items() if label in seeds}
    frame = study.frame[study.frame["task"] == task.name]
    frame = frame[frame["method"].isin(list(seeds))].sort_values(["seed", "event"])
    limit = task.unit.per_hour * max(task.budget, float(frame["gpu_hours"].max()))
    time = Axis(task.unit.label, False, -0.03 * limit, 1.03 * limit)
    frame = frame.assign(time=frame["gpu_hours"] * task.unit.per_hour)
    panels = []
    for variable in task.variables:
        rows = frame[frame["metric"] == f"param:{variable.name}"]
        low, high = widened(variable.low, variable.high, variable.log, room=0.04)
        series = [one for label, seed in seeds.items() for one in _series(rows, label, seed)]
        default = Rule("y", variable.default)
        value = Axis("", variable.log, low, high)
        panels.append(Panel(_title(variable), time, value, series, [default]))
    chosen = ", ".join(f"{seed} of {style.shortened(label)}" for label, seed in seeds.items())
    note = (
        f"{task.name}, one run per method: the one whose final {task.primary.label} is the median "
        f"over seeds (seed {chosen}). Lines: single-run methods (thin: their other seeds). Small "
        "marks: trials of searches; large: what the run delivers. Dashed: the default setting."
    )
    return Chart("trajectories", TITLE, note + style.not_ranked(study, seeds), looks, panels)


def _title(variable: Variable) -> str:
    """The variable's name, and what its values stand for if they are choices."""
    names = ", ".join(f"{number} {name}" for number, name in enumerate(variable.choices))
    return f"{variable.name}: {names}" if names else variable.name


def representative(task: Task, label: str) -> int | None:
    """The seed whose last primary metric is the (lower) median; None without any."""
    finals = [
        (float(trace.values[-1]), trace.seed)
        for trace in task.trace(label, task.primary.name)
        if np.isfinite(trace.values[-1])
    ]
    return sorted(finals)[(len(finals) - 1) // 2][1] if finals else None


def _series(rows: pd.DataFrame, label: str, seed: int) -> list[Series]:
    """A search's trials in one run, or a line per run of a single-run method."""
    own = rows[rows["method"] == label]

    def points(
        run: pd.DataFrame, join: str = "", marks: str = "all", faint: bool = False
    ) -> Series:
        x, y = (run[column].to_numpy(float) for column in ("time", "value"))
        return Series(label, x, y, join=join, marks=marks, faint=faint)

    if (own["kind"] == "trial").any():
        run = own[own["seed"] == seed]
        taken = run[run["incumbent"]]
        return [
            points(run[~run["incumbent"]], faint=True),
            points(taken, marks="open", faint=True),
            points(taken.iloc[-1:]),
        ]
    others = [run for _, run in own[own["seed"] != seed].groupby("seed")]
    lines = [points(run, "line", "none", faint=True) for run in others]
    run = own[own["seed"] == seed]
    return [*lines, points(run, "line", "few")] if len(run) else lines
