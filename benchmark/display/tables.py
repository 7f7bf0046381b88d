"""The tables of a study: quality, cost to a target, comparisons, and where the time went.

`write_tables` writes each one as CSV (tidy, full precision), Markdown and LaTeX; `summary` is the
first of them alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis import contrasts, hypervolume, measures, pairwise, work
from benchmark.display import table
from benchmark.display.figures import left_out
from benchmark.display.formatting import count, duration, estimate, number, percent
from benchmark.display.kinds.anytime import focus
from benchmark.display.style import NOT_RANKED as MARK
from benchmark.display.table import MISSING, Block, Cell, Column, Table
from benchmark.study.model import NOT_RANKED, WHY_NOT_RANKED, Metric, Study, Task

INTERVAL = (
    "mean over the n runs with a finite value and 95 % Student-t interval; for metrics on a log "
    "scale the geometric mean and the interval on the log scale"
)
FINAL = "at the end [95 % t]"
TOOK = ("gpu_hours", "nfe", "trials", "status")
Row = dict[Any, Any]


@dataclass(frozen=True)
class Part:
    """A column, and how its cells follow from rows of numbers."""

    title: str
    cell: Callable[[Row], Cell]
    meaning: str = ""
    axis: tuple[float, float, bool] | None = None

    @property
    def column(self) -> Column:
        return Column(self.title, self.meaning, self.axis)


def _text(key: str) -> Callable[[Row], Cell]:
    return lambda row: Cell(str(row[key] or MISSING))


def _number(key: str, written: Callable[[float], str] = number) -> Callable[[Row], Cell]:
    return lambda row: Cell(written(row[key]), _key(row[key]))


def _interval(value: str = "mean") -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        ends = (row["low"], row[value], row["high"])
        text = estimate(row[value], row["low"], row["high"])
        return Cell(text, _key(row[value]), interval=ends)

    return cell


def _key(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _name(study: Study, title: str = "method", key: str = "method") -> Part:
    places = {label: place for place, label in enumerate(study.methods)}

    def cell(row: Row) -> Cell:
        label = row[key]
        text = label if study.method(label).ranked else f"{label} {MARK}"
        return Cell(text, places[label], method=label)

    return Part(title, cell)


def _mark(study: Study) -> str:
    """The meaning of the mark, where a method has it."""
    marked = len(study.ranked) < len(study.methods)
    return f" {MARK} {NOT_RANKED}: {WHY_NOT_RANKED}." if marked else ""


def _of(data: pd.DataFrame, task: Task) -> list[Row]:
    return data[data["task"] == task.name].to_dict("records")


def _block(heading: str, parts: Sequence[Part], rows: Iterable[Row], caption: str = "") -> Block:
    cells = [[part.cell(row) for part in parts] for row in rows]
    return Block(heading, [part.column for part in parts], cells, caption)


def _alike(
    study: Study, name: str, title: str, caption: str, data: pd.DataFrame, parts: Sequence[Part]
) -> Table:
    """A table with the same columns for every task, one row for each of `data`."""
    parts = [_name(study), *parts]
    blocks = [_block(task.name, parts, _of(data, task)) for task in study.tasks.values()]
    return Table(name, title, caption, data, blocks)


def summary(study: Study) -> Table:
    """One row per task and method: quality over the budget, and what it took."""
    data, usage = measures.quality(study), measures.usage(study)
    used = {(row["task"], row["method"]): row for row in usage.to_dict("records")}

    def block(task: Task) -> Block:
        rows = _by_share(_of(data[data["metric"] == task.primary.name], task))
        complete = [row | {k: used[task.name, row["method"]][k] for k in TOOK} for row in rows]
        axis = (*_axis(study, complete, task.primary), task.primary.log)
        parts = [
            _name(study),
            *_early(),
            Part(FINAL, _interval(), axis=axis),
            Part("n", _number("n", str), "runs with a finite value"),
            Part("used", _number("gpu_hours", lambda h: duration(h, task.unit)), "charged time"),
            Part("NFE", _number("nfe", count), "network evaluations, mean over runs"),
            Part("trials", _number("trials", count)),
            Part("runs", _text("status")),
        ]
        about = f"{task.name}: {task.primary.title}, evaluator: {task.evaluator}."
        return _block(task.name, parts, complete, about)

    caption = (
        f"Primary metric of the incumbent at shares of the budget: {INTERVAL}. In brackets: n at "
        f"that moment where it is not n at the end.{_mark(study)}"
    )
    blocks = [block(task) for task in study.tasks.values()]
    return Table("quality", "Quality over the budget", caption, data, blocks)


def _by_share(rows: Iterable[Row]) -> list[Row]:
    """One row per method: its numbers at the end, and those at each share of the budget."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row["method"], {})[row["fraction"]] = row
    return [at | at[1.0] for at in found.values()]


def _early() -> list[Part]:
    """Columns of the means at all shares of the budget but the last."""

    def moment(share: float) -> Callable[[Row], Cell]:
        def cell(row: Row) -> Cell:
            at = row[share]
            few = f" ({at['n']})" if at["n"] not in (0, row["n"]) else ""
            return Cell(number(at["mean"]) + few, _key(at["mean"]))

        return cell

    return [Part(f"at {percent(share)}", moment(share)) for share in measures.FRACTIONS[:-1]]


def _axis(study: Study, rows: Sequence[Row], metric: Metric) -> tuple[float, float]:
    """An axis that holds the ranked methods' values and intervals, apart from hopeless ones."""
    ranked = [row for row in rows if study.method(row["method"]).ranked] or rows
    return focus([np.array([row[e] for e in ("low", "mean", "high")]) for row in ranked], metric)


def _metrics(study: Study) -> Table:
    data = measures.quality(study)
    final = data[data["fraction"] == 1.0].drop(columns="fraction")
    titles = {(t.name, m.name): m.title for t in study.tasks.values() for m in t.metrics}
    caption = f"All reported metrics of the incumbent at the end of the budget: {INTERVAL}."
    parts = [
        Part("metric", lambda row: Cell(titles[row["task"], row["metric"]])),
        Part(FINAL, _interval()),
        Part("n", lambda row: Cell(f"{row['n']}/{row['runs']}", row["n"]), "finite of all runs"),
    ]  # fmt: skip
    return _alike(study, "metrics", "All metrics at the end", caption, final, parts)


def _usage(study: Study) -> Table:
    off: dict[tuple[str, str], list[str]] = {}
    for row in work.unusual(study).to_dict("records"):
        text = f"seed {row['seed']}: {percent(round(row['ratio'], 2))} of usual {row['work']}"
        off.setdefault((row["task"], row["method"]), []).append(text.replace("_", " "))
    units = {task.name: task.unit for task in study.tasks.values()}
    counted = ("nfe", "train_images", "scored_images", "trials", "reports")
    caption = (
        "Work of a run: means over runs that have not failed. Used: charged time; NFE: network "
        "evaluations. Uses: what the method sees beyond the space. Unusual pace: runs whose work "
        "per second charged for it is more than 30 % off the median of the method's runs."
    )
    parts = [
        Part("uses", lambda row: Cell(study.method(row["method"]).uses or MISSING)),
        Part("used", lambda row: Cell(duration(row["gpu_hours"], units[row["task"]]),
                                      _key(row["gpu_hours"]))),
        *(Part("NFE" if n == "nfe" else n.replace("_", " "), _number(n, count)) for n in counted),
        Part("runs", _text("status")),
        Part("unusual pace", lambda row: Cell(
            ", ".join(off.get((row["task"], row["method"]), [MISSING])))),
    ]  # fmt: skip
    return _alike(study, "usage", "Work of a run", caption, measures.usage(study), parts)


def _costs(study: Study) -> Table:
    data = measures.costs(study)

    def cost(task: Task, row: Row) -> Cell:
        if not row["runs"]:
            return Cell(MISSING)
        share = f"({row['successes']}/{row['runs']})"
        if not row["successes"]:
            return Cell(f"> {duration(row['censored'], task.unit)} {share}", math.inf)
        times = (row[part] * task.unit.per_hour for part in ("gpu_hours", "low", "high"))
        return Cell(f"{estimate(*times)} {task.unit.name} {share}", row["gpu_hours"])

    blocks = []
    for task in study.tasks.values():
        rows: dict[str, list[Cell]] = {}
        for row in _of(data, task):
            rows.setdefault(row["method"], [_name(study).cell(row)]).append(cost(task, row))
        goals = {
            row["target"]: Column(f"{row['target']}: {number(row['value'])}")
            for row in _of(data, task)
        }
        blocks.append(Block(task.name, [Column("method"), *goals.values()], list(rows.values())))
    caption = (
        "Device time until the primary metric has made a share of the gain between the task's "
        "stored references (none without them): expected running time "
        "(time of all runs over successes), 95 % chi-squared interval and successes/runs; > the "
        "budget, or as far as unfinished runs are, if none got there."
    )
    return Table("cost_to_target", "Cost to a target", caption, data, blocks)


def _ledgers(study: Study) -> Table:
    caption = (
        "Time of a run by ledger: means over n runs that have not failed. Only the method ledger "
        "is charged to the budget."
    )
    parts = [
        *(Part(f"{ledger} (s)", _number(f"{ledger}_s")) for ledger in measures.LEDGERS),
        Part("peak memory (MB)", _number("peak_memory_mb")),
        Part("n", _number("n", str)),
    ]
    return _alike(study, "ledgers", "Time by ledger", caption, measures.ledgers(study), parts)


def _operations(study: Study) -> Table:
    caption = (
        "Charged time of a run by primitive operation: means over n runs; overhead is the "
        "method's own code."
    )
    parts = [
        Part("operation", _text("operation")),
        Part("kind", _text("kind")),
        Part("charged (s)", _number("seconds")),
        Part("share (%)", _number("share", lambda share: number(100 * share))),
        Part("n", _number("n", str)),
    ]
    data = measures.operations(study)
    return _alike(study, "operations", "Time by operation", caption, data, parts)


def _comparisons(study: Study) -> Table:
    """Each pair once, in the primary metric at the end, the better mean first."""
    data = pairwise.compare(study)
    blocks = []
    for task in study.tasks.values():
        metric = task.primary
        kind, level = ("ratio", 1.0) if metric.log else ("difference", 0.0)
        own = data[data["metric"] == metric.name]
        ahead = own["effect"] > level if metric.higher_is_better else own["effect"] < level
        once = (own["effect"] == level) & (own["method"] < own["other"])
        rows = _of(own[ahead | once], task)
        wins = {row["method"]: sum(r["method"] == row["method"] for r in rows) for row in rows}
        parts = [
            _name(study),
            _name(study, "against", "other"),
            Part(f"{kind} [95 % t]", _interval("effect")),
            Part("p (Holm)", _number("p_holm", lambda p: number(p, 2))),
            Part("ahead on", lambda row: Cell(f"{row['wins']}/{row['n']}", row["wins"])),
            Part("better", lambda row: Cell("yes" if row["better"] else "not shown")),
        ]
        blocks.append(_block(task.name, parts, sorted(rows, key=lambda row: -wins[row["method"]])))
    caption = (
        "Pairs of ranked methods at the end of the budget: effect on the primary metric (method "
        "minus other, or their ratio for metrics on a log scale) with its 95 % Student-t interval, "
        "paired over seeds; p of the exact sign-flip test after Holm's correction for all pairs of "
        "the task; seeds on which the method is ahead. Exploratory: better means p below 0.05, an "
        "effect that matters, and a second measure that agrees; a difference that is not shown is "
        "not evidence that the methods are equal."
    )
    return Table("comparisons", "All pairs of methods", caption, data, blocks)


def _contrasts(study: Study) -> Table:
    """The planned comparisons, which the verdict is about."""
    data = contrasts.planned(study)
    blocks = []
    for task in study.tasks.values():
        kind = "ratio" if task.primary.log else "difference"
        parts = [
            Part("contrast", _text("name")),
            _name(study),
            _name(study, "against", "other"),
            Part(f"{kind} [95 % t]", _interval("effect")),
            Part("n", _number("n", str)),
            Part("ahead on", _number("wins", str)),
            Part("p (Holm)", _number("p_holm", lambda p: number(p, 2))),
            Part("smallest p", _number("smallest_p", lambda p: number(p, 2)), "that n seeds give"),
            Part("second measure", _text("confirmed")),
            Part("outcome", _text("outcome")),
        ]
        blocks.append(_block(task.name, parts, _of(data, task)))
    caption = (
        "Contrasts that the suite planned, in the primary metric at the end of the budget: effect "
        "against the method that is led least, with its 95 % Student-t interval, paired by seed; "
        "p of exact sign-flip tests after Holm's correction over all planned contrasts."
    )
    return Table("contrasts", "Planned contrasts", caption, data, blocks)


def _gains(study: Study) -> Table:
    """Shares of the attainable gain by task, and over all tasks for the methods that ran on all."""
    data = measures.gains(study)
    final = [Part(FINAL, _interval()), Part("n", _number("n", str), "runs with a finite value")]
    blocks = _over_the_budget(study, data, final)
    everywhere = measures.aggregate(measures.scores(study)).to_dict("records")
    blocks += [_block("all tasks", [_name(study), *final], everywhere)] if everywhere else []
    bare = [name for name, task in study.tasks.items() if task.references is None]
    caption = (
        "Share of the attainable gain at shares of the budget: 0 is the task's stored default, 1 "
        "its stored tuned run, on the log scale for metrics on one. Mean and 95 % Student-t "
        "interval over n runs with a finite value; all tasks: mean over tasks with a "
        "Welch-Satterthwaite interval, for methods with runs on every task shown."
        + (f" Without two stored references: {', '.join(bare)}." if bare else "")
    )
    return Table("gain", "Share of the attainable gain", caption, data, blocks)


def _over_the_budget(study: Study, data: pd.DataFrame, final: Sequence[Part]) -> list[Block]:
    """Means at shares of the budget, for the tasks that `data` is about."""
    parts = [_name(study), *_early(), *final]
    return [
        _block(task.name, parts, _by_share(_of(data, task)))
        for task in study.tasks.values()
        if task.name in set(data["task"])
    ]


def _hypervolumes(study: Study) -> Table:
    data = hypervolume.means(study)
    final = [Part(FINAL, _interval()), Part("n", _number("n", str), "runs")]
    blocks = _over_the_budget(study, data, final)
    caption = (
        "Trade-off of E[r1] and -KL: area that the models delivered so far dominate above the "
        "stored default's E[r1] and twice the KL of the stored tuned run, which alone has 0.5. "
        "Only tasks that report a divergence and have stored references. Mean and 95 % Student-t "
        "interval over runs."
    )
    return Table("hypervolume", "Reward against divergence", caption, data, blocks)


def methods(study: Study) -> Table:
    """What each method is and uses."""
    rows = [
        {
            "method": label, "what it does": method.description, "uses": method.uses,
            "options": ", ".join(f"{name} = {value}" for name, value in method.options.items()),
            "source": method.citation,
        }
        for label, method in study.methods.items()
    ]  # fmt: skip
    titles = ["what it does", "uses", "options", "source"]
    block = _block("all tasks", [_name(study), *(Part(t, _text(t)) for t in titles)], rows)
    caption = f"Uses: what the method sees beyond the space of variables.{_mark(study)}"
    return Table("methods", "Methods", caption, pd.DataFrame(rows), [block])


MAKERS: dict[str, Callable[[Study], Table]] = {
    "quality": summary,
    "metrics": _metrics,
    "usage": _usage,
    "cost_to_target": _costs,
    "ledgers": _ledgers,
    "operations": _operations,
    "contrasts": _contrasts,
    "comparisons": _comparisons,
    "gain": _gains,
    "hypervolume": _hypervolumes,
    "methods": methods,
}


def tables(study: Study) -> dict[str, Table]:
    """All tables that can be made, by name; a line says which cannot, and why."""
    made = {}
    for name, maker in MAKERS.items():
        try:
            made[name] = maker(study)
        except Exception as error:  # whatever it is, the other tables are made
            left_out(f"table {name}", error)
    return made


def write_tables(study: Study, folder: Path) -> list[Path]:
    """Write every table as `NAME.csv`, `NAME.md` and `NAME.tex`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, made in tables(study).items():
        for extension, text in (
            ("csv", table.csv(made)), ("md", table.markdown(made)), ("tex", table.latex(made))
        ):  # fmt: skip
            path = folder / f"{name}.{extension}"
            path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
            written.append(path)
    return written
