"""The tables of a study: quality, cost to a target, comparisons, and where the time went.

`write_tables` writes each one as CSV (tidy, full precision), Markdown and LaTeX; `summary` is the
first of them alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from benchmark.analysis import contrasts, hypervolume, measures, pairwise, work
from benchmark.display import columns, style, table
from benchmark.display.figures import left_out_if_broken
from benchmark.display.formatting import MISSING, duration, estimate, number, percent
from benchmark.display.table import Block, Cell, Column, Row, Table
from benchmark.runs.clock import WORK
from benchmark.study.model import Study, Task

INTERVAL = (
    "mean over the n runs with a finite value and 95 % Student-t interval; for metrics on a log "
    "scale the geometric mean and the interval on the log scale"
)

TOOK = ("gpu_hours", "nfe", "trials", "status")


def _of(data: pd.DataFrame, task: Task) -> list[Row]:
    return data[data["task"] == task.name].to_dict("records")


def _blocks(
    study: Study, data: pd.DataFrame, columns_of: Callable[[Task], Sequence[Column]]
) -> list[Block]:
    """The rows of `data` by task."""
    return [Block(task.name, columns_of(task), _of(data, task)) for task in study.tasks.values()]


def _by_share(rows: Sequence[Row]) -> list[Row]:
    """One row per method: its numbers at the end, and those at each share of the budget."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row["method"], {})[row["fraction"]] = row
    return [at | at[1.0] for at in found.values()]


def summary(study: Study) -> Table:
    """One row per task and method: quality over the budget, and what it took."""
    data, usage = measures.quality(study), measures.usage(study)
    took = {(row["task"], row["method"]): row for row in usage.to_dict("records")}

    def block(task: Task) -> Block:
        rows = _by_share(_of(data[data["metric"] == task.primary.name], task))
        complete = [row | {k: took[task.name, row["method"]][k] for k in TOOK} for row in rows]
        shown = [
            columns.named(study), *columns.shares(), columns.interval(), columns.runs(),
            columns.used(task), columns.counted("nfe"), columns.counted("trials"),
            columns.text("runs", "status"),
        ]  # fmt: skip
        about = f"{task.name}: {task.primary.title}, evaluator: {task.evaluator}."
        return Block(task.name, shown, complete, about)

    caption = (
        f"Primary metric of the incumbent at shares of the budget: {INTERVAL}. In brackets: n at "
        "that moment where it is not n at the end. NFE: network evaluations, mean over runs."
    )
    blocks = [block(task) for task in study.tasks.values()]
    title = "Quality over the budget"
    return Table("quality", title, caption + style.not_ranked(study, study.methods), data, blocks)


def _metrics(study: Study) -> Table:
    data = measures.quality(study)
    final = data[data["fraction"] == 1.0].drop(columns="fraction")

    def shown(task: Task) -> list[Column]:
        titles = {metric.name: metric.title for metric in task.metrics}
        share = Column(
            "n", lambda row: Cell(f"{row['n']}/{row['runs']}", row["n"]), "finite of all runs"
        )
        metric = Column("metric", lambda row: Cell(titles[row["metric"]]))
        return [columns.named(study), metric, columns.interval(), share]

    caption = f"All reported metrics of the incumbent at the end of the budget: {INTERVAL}."
    blocks = _blocks(study, final, shown)
    return Table("metrics", "All metrics at the end", caption, final, blocks)


def _usage(study: Study) -> Table:
    data = measures.usage(study)
    off: dict[tuple[str, str], list[str]] = {}
    for row in work.unusual(study).to_dict("records"):
        done = row["work"].replace("_", " ")
        said = f"seed {row['seed']}: {percent(round(row['ratio'], 2))} of usual {done}"
        off.setdefault((row["task"], row["method"]), []).append(said)
    pace = Column(
        "unusual pace",
        lambda row: Cell(", ".join(off.get((row["task"], row["method"]), [MISSING]))),
    )
    caption = (
        "Work and time of a run: means over the n runs that have not failed, and the largest peak "
        "memory. Used: charged time, the only ledger that counts for the budget; NFE: network "
        "evaluations. Unusual pace: runs whose work per second charged for it is more than 30 % "
        "off the median of the method's runs."
    )
    blocks = _blocks(
        study,
        data,
        lambda task: [
            columns.named(study), columns.used(task),
            *map(columns.counted, (*WORK, "trials", "reports")),
            *(columns.numeric(f"{name} (s)", f"{name}_s") for name in measures.UNCHARGED),
            columns.numeric("peak memory (MB)", "peak_memory_mb"),
            columns.numeric("n", written=str), columns.text("runs", "status"), pace,
        ],
    )  # fmt: skip
    return Table("usage", "Work and time of a run", caption, data, blocks)


def _costs(study: Study) -> Table:
    data = measures.costs(study)

    def cell(task: Task, goal: str, method: Row) -> Cell:
        row = method[goal]
        if not row["runs"]:
            return Cell(MISSING)
        share = f"({row['successes']}/{row['runs']})"
        if not row["successes"]:
            return Cell(f"> {duration(row['censored'], task.unit)} {share}", math.inf)
        times = (row[part] * task.unit.per_hour for part in ("gpu_hours", "low", "high"))
        return Cell(f"{estimate(*times)} {task.unit.name} {share}", row["gpu_hours"])

    def block(task: Task) -> Block:
        rows: dict[str, Row] = {}
        goals: dict[str, float] = {}
        for row in _of(data, task):
            rows.setdefault(row["method"], {"method": row["method"]})[row["target"]] = row
            goals[row["target"]] = row["value"]
        shown = [
            Column(f"{goal}: {number(value)}", partial(cell, task, goal))
            for goal, value in goals.items()
        ]
        return Block(task.name, [columns.named(study), *shown], list(rows.values()))

    caption = (
        "Device time until the primary metric has made a share of the gain between the task's "
        "stored references (none without them): expected running time "
        "(time of all runs over successes), 95 % chi-squared interval and successes/runs; > the "
        "budget, or as far as unfinished runs are, if none got there."
    )
    blocks = [block(task) for task in study.tasks.values()]
    return Table("cost_to_target", "Cost to a target", caption, data, blocks)


def _comparisons(study: Study) -> Table:
    """Each pair once, in the primary metric at the end, the better mean first."""
    data = pairwise.compare(study)

    def block(task: Task) -> Block:
        own = data[data["metric"] == task.primary.name]
        level = 1.0 if task.primary.log else 0.0
        ahead = own["effect"] > level if task.primary.higher_is_better else own["effect"] < level
        rows = _of(own[ahead | (own["effect"] == level) & (own["method"] < own["other"])], task)
        wins = pd.Series([row["method"] for row in rows], dtype=object).value_counts()
        rows.sort(key=lambda row: -wins[row["method"]])
        share = Column("ahead on", lambda row: Cell(f"{row['wins']}/{row['n']}", row["wins"]))
        better = Column("better", lambda row: Cell("yes" if row["better"] else "not shown"))
        return Block(task.name, [*_pair(task), _P_HOLM, share, better], rows)

    caption = (
        "Pairs of ranked methods at the end of the budget: effect on the primary metric (method "
        "minus other, or their ratio for metrics on a log scale) with its 95 % Student-t interval, "
        "paired over seeds; p of the exact sign-flip test after Holm's correction for all pairs of "
        "the task; seeds on which the method is ahead. Exploratory: better means p below 0.05, an "
        "effect that matters, and a second measure that agrees; a difference that is not shown is "
        "not evidence that the methods are equal."
    )
    blocks = [block(task) for task in study.tasks.values()]
    return Table("comparisons", "All pairs of methods", caption, data, blocks)


_P_HOLM = columns.p_value("p (Holm)", "p_holm")


def _pair(task: Task) -> list[Column]:
    """Two methods, and the effect of one against the other."""
    effect = "ratio [95 % t]" if task.primary.log else "difference [95 % t]"
    other = columns.named(task.study, "against", "other")
    return [columns.named(task.study), other, columns.interval(effect, "effect")]


def _contrasts(study: Study) -> Table:
    """The planned comparisons, which the verdict is about."""
    data = contrasts.planned(study)
    caption = (
        "Contrasts that the suite planned, in the primary metric at the end of the budget: effect "
        "against the method that is led least, with its 95 % Student-t interval, paired by seed; "
        "p of exact sign-flip tests after Holm's correction over all planned contrasts."
    )
    blocks = _blocks(
        study,
        data,
        lambda task: [
            columns.text("contrast", "name"), *_pair(task), columns.numeric("n", written=str),
            columns.numeric("ahead on", "wins", str), _P_HOLM,
            columns.p_value("smallest p", "smallest_p", "that n seeds give"),
            columns.text("second measure", "confirmed"), columns.text("outcome"),
        ],
    )  # fmt: skip
    return Table("contrasts", "Planned contrasts", caption, data, blocks)


def _over_the_budget(study: Study, data: pd.DataFrame) -> list[Block]:
    """Means at shares of the budget, for the tasks that `data` is about."""
    shown = [columns.named(study), *columns.shares(), columns.interval(), columns.runs()]
    about = [task for task in study.tasks.values() if task.name in set(data["task"])]
    return [Block(task.name, shown, _by_share(_of(data, task))) for task in about]


def _gains(study: Study) -> Table:
    """Shares of the attainable gain by task, and over all tasks for the methods that ran on all."""
    data = measures.gains(study)
    everywhere = measures.aggregate(measures.scores(study)).to_dict("records")
    blocks = _over_the_budget(study, data)
    if everywhere:
        shown = [columns.named(study), columns.interval(), columns.runs()]
        blocks.append(Block("all tasks", shown, everywhere))
    bare = [name for name, task in study.tasks.items() if task.references is None]
    caption = (
        "Share of the attainable gain at shares of the budget: 0 is the task's stored default, 1 "
        "its stored tuned run, on the log scale for metrics on one. Mean and 95 % Student-t "
        "interval over n runs with a finite value; all tasks: mean over tasks with a "
        "Welch-Satterthwaite interval, for methods with runs on every task shown."
        + (f" Without two stored references: {', '.join(bare)}." if bare else "")
    )
    return Table("gain", "Share of the attainable gain", caption, data, blocks)


def _hypervolumes(study: Study) -> Table:
    data = hypervolume.means(study)
    caption = (
        "Trade-off of E[r1] and -KL: area that the models delivered so far dominate above the "
        "stored default's E[r1] and twice the KL of the stored tuned run, which alone has 0.5. "
        "Only tasks that report a divergence and have stored references. Mean and 95 % Student-t "
        "interval over runs."
    )
    blocks = _over_the_budget(study, data)
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
    texts = map(columns.text, ["what it does", "uses", "options", "source"])
    mark = style.not_ranked(study, study.methods)
    caption = f"Uses: what the method sees beyond the space of variables.{mark}"
    block = Block("all tasks", [columns.named(study), *texts], rows)
    return Table("methods", "Methods", caption, pd.DataFrame(rows), [block])


MAKERS: dict[str, Callable[[Study], Table]] = {
    "quality": summary,
    "metrics": _metrics,
    "usage": _usage,
    "cost_to_target": _costs,
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
        with left_out_if_broken(f"table {name}"):
            made[name] = maker(study)
    return made


def write_tables(study: Study, folder: Path) -> list[Path]:
    """Write every table as `NAME.csv`, `NAME.md` and `NAME.tex`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, made in tables(study).items():
        for extension, form in (("csv", table.csv), ("md", table.markdown), ("tex", table.latex)):
            path = folder / f"{name}.{extension}"
            path.write_text(form(made), "utf-8", errors="backslashreplace", newline="")
            written.append(path)
    return written
