"""How the tuned variables move over the budget."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.display import style
from benchmark.display.chart import Axis, Chart, Panel, Rule, Series, widened
from benchmark.display.kinds import words
from benchmark.study.model import Study, Task, Variable

TITLE = "How do the tuned variables move?"
MANY, MANY_COLUMNS = 9, 5
"""From how many panels on they show less each, and how many of them stand side by side."""


def draw(study: Study, task: Task) -> Chart | None:
    """One panel per variable, and per number that candidates show beside their parameters; None
    if no run has delivered anything on the task."""
    seeds = {
        label: seed for label in task.methods if (seed := representative(task, label)) is not None
    }
    if not seeds or not task.variables:
        return None
    looks = {label: look for label, look in style.looks(study).items() if label in seeds}
    frame = study.frame[
        (study.frame["task"] == task.name) & study.frame["method"].isin(list(seeds))
    ]
    drawn = {f"param:{variable.name}": (_title(variable), variable) for variable in task.variables}
    drawn |= shown(frame, task)
    many = len(drawn) >= MANY
    limit = task.unit.per_hour * max(task.budget, float(frame["gpu_hours"].max()))
    time = Axis(task.unit.label, False, -0.03 * limit, 1.03 * limit)
    panels = [
        _panel(frame[frame["metric"] == metric], title, variable, seeds, task, time, many)
        for metric, (title, variable) in drawn.items()
    ]
    beside = len(drawn) > len(task.variables)
    columns = len(task.variables) if beside and len(drawn) <= 2 * MANY_COLUMNS else None
    if many and columns is None:
        columns = MANY_COLUMNS
    note = _note(task, seeds, many, beside) + words.not_ranked(study, seeds)
    return Chart("trajectories", TITLE, note, looks, panels, columns, height=1.5 if many else 1.75)


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


def shown(frame: pd.DataFrame, task: Task) -> dict[str, tuple[str, Variable]]:
    """The metrics `shown:ROLE: VARIABLE`, each with its title and the variable whose scale it is
    on, in their order."""
    titles = sorted({name.removeprefix("shown:") for name in frame["metric"].unique()})
    return {
        f"shown:{title}": (title, variable)
        for variable in task.variables
        for title in titles
        if title.endswith(f": {variable.name}")
    }


def _panel(
    rows: pd.DataFrame,
    title: str,
    variable: Variable,
    seeds: dict[str, int],
    task: Task,
    time: Axis,
    many: bool,
) -> Panel:
    """With `many` neither other seeds nor trials that did not become the incumbent: panels of many
    variables are too small for them."""
    series: list[Series] = []
    for label, seed in seeds.items():
        own = rows[rows["method"] == label].sort_values(["seed", "event"])
        search = bool((own["kind"] == "trial").any())
        for number, run in own.groupby("seed", sort=False):
            x = run["gpu_hours"].to_numpy(float) * task.unit.per_hour
            y, taken = run["value"].to_numpy(float), run["incumbent"].to_numpy(bool)
            if not search and (number == seed or not many):
                faint = number != seed
                marks = "none" if faint else "few"
                series.append(Series(label, x, y, join="line", marks=marks, faint=faint))
            elif search and number == seed:
                if not many:
                    series.append(Series(label, x[~taken], y[~taken], faint=True))
                series.append(Series(label, x[taken], y[taken], marks="open", faint=True))
                series.append(Series(label, x[taken][-1:], y[taken][-1:]))
    low, high = widened(variable.low, variable.high, variable.log, room=0.04)
    y_axis = Axis("", variable.log, low, high)
    return Panel(title, time, y_axis, series, [Rule("y", variable.default, dashed=False)])


def _note(task: Task, seeds: dict[str, int], many: bool, beside: bool) -> str:
    chosen = ", ".join(f"{seed} of {style.shortened(label)}" for label, seed in seeds.items())
    text = (
        f"{task.name}, one run per method: the one whose final {task.primary.label} is the median "
        f"over seeds (seed {chosen}). "
    )
    text += (
        "Lines: single-run methods. Small marks: incumbents of searches; large: what the run "
        "delivers. "
        if many
        else "Lines: single-run methods (thin: their other seeds). Small marks: trials of "
        "searches; large: what the run delivers. "
    )
    text += "Dotted: the default setting."
    if beside:
        text += (
            " Panels with a role in their title: what a candidate has beside its parameters, drawn "
            "only for methods that set it apart from them."
        )
    return text
