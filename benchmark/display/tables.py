"""Tables for people: final quality, cost to a target, and where the time went.

`write_tables` writes each one as CSV (tidy, full precision), Markdown and LaTeX; `summary`
is the short form for a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis import measures, pairwise, statistics
from benchmark.display import formatting, latex
from benchmark.study.model import Study, Unit

INTERVAL = (
    "mean over the n runs with a finite value and 95 % Student-t interval; for metrics on a log "
    "scale the geometric mean and the interval on the log scale"
)
FINAL = "at the end [95 % t]"

Row = dict[Any, Any]


@dataclass(frozen=True)
class Table:
    """One table: its numbers, and the same as strings."""

    name: str
    caption: str
    data: pd.DataFrame
    text: pd.DataFrame


def tables(study: Study) -> list[Table]:
    """All tables of the results."""
    quality = measures.quality(study)
    usage = measures.usage(study)
    return [
        _quality(study, quality, usage),
        _metrics(study, quality),
        _usage(study, usage),
        _costs(study, measures.costs(study)),
        _ledgers(measures.ledgers(study)),
        _operations(measures.operations(study)),
        _comparisons(study, pairwise.compare(study)),
        _scores(study, measures.scores(study)),
    ]


def summary(study: Study) -> pd.DataFrame:
    """One row of strings per task × method: quality over the budget, and what it took."""
    quality = measures.quality(study)
    return _quality(study, quality, measures.usage(study)).text


def write_tables(study: Study, folder: Path) -> list[Path]:
    """Write every table as `NAME.csv`, `NAME.md` and `NAME.tex`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables(study):
        written_as = {
            "csv": table.data.to_csv(index=False, lineterminator="\n"),
            "md": _markdown(table),
            "tex": latex.table(table.text, table.caption, table.name),
        }
        for extension, text in written_as.items():
            path = folder / f"{table.name}.{extension}"
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _markdown(table: Table) -> str:
    cells = table.text.map(lambda cell: str(cell).replace("|", "\\|"))
    body = cells.to_markdown(index=False, disable_numparse=True)
    return f"{table.caption}\n\n{body}\n"


def _quality(study: Study, quality: pd.DataFrame, usage: pd.DataFrame) -> Table:
    cells = {
        (row["task"], row["method"], row["metric"], row["fraction"]): row
        for row in quality.to_dict("records")
    }
    rows = []
    for used in usage.to_dict("records"):
        task, method = used["task"], used["method"]
        metric = study.task(task).primary
        at = {share: cells[task, method, metric.name, share] for share in measures.FRACTIONS}
        row: Row = {"task": task, "method": method, "metric": metric.title}
        for share in measures.FRACTIONS[:-1]:
            row[f"at {formatting.percent(share)}"] = _value(at[share], at[1.0]["n"])
        row[FINAL] = _estimate(at[1.0])
        row["n"] = str(at[1.0]["n"])
        row["used"] = formatting.duration(used["gpu_hours"], study.task(task).unit)
        row["NFE"] = formatting.count(used["nfe"])
        row["trials"] = formatting.count(used["trials"])
        row["runs"] = used["status"]
        rows.append(row)
    caption = (
        f"Primary metric of the incumbent at shares of the budget: {INTERVAL}. In brackets: n at "
        "that moment where it is not n at the end. Used: charged time; NFE: network evaluations "
        "(means over runs). " + _evaluators(study)
    )
    return Table("quality", caption, quality, pd.DataFrame(rows))


def _value(cell: Row, n: int) -> str:
    value = formatting.number(cell["mean"])
    return f"{value} ({cell['n']})" if cell["n"] not in (0, n) else value


def _estimate(cell: Row) -> str:
    return formatting.estimate(cell["mean"], cell["low"], cell["high"])


def _evaluators(study: Study) -> str:
    """What the metrics were measured with: values with other sample sizes do not compare."""
    parts = [f"{task} ({study.task(task).evaluator})" for task in study.tasks]
    return f"Evaluators: {', '.join(parts)}."


def _metrics(study: Study, quality: pd.DataFrame) -> Table:
    titles = {
        (task, metric.name): metric.title
        for task in study.tasks
        for metric in study.task(task).metrics
    }
    final = quality[quality["fraction"] == 1.0].drop(columns="fraction")
    rows = [
        {
            "task": row["task"],
            "method": row["method"],
            "metric": titles[row["task"], row["metric"]],
            FINAL: _estimate(row),
            "median": formatting.estimate(row["median"], row["median_low"], row["median_high"]),
            "IQM": formatting.estimate(row["iqm"], row["iqm_low"], row["iqm_high"]),
            "n": f"{row['n']}/{row['runs']}",
        }
        for row in final.to_dict("records")
    ]
    caption = (
        f"All reported metrics of the incumbent at the end of the budget: {INTERVAL}; "
        "median with its interval of order statistics from six runs on; interquartile mean (IQM), "
        "Tukey-McLaughlin interval, from four runs on; n of all runs. " + _evaluators(study)
    )
    return Table("metrics", caption, final, pd.DataFrame(rows))


def _usage(study: Study, data: pd.DataFrame) -> Table:
    units = {task: study.task(task).unit for task in study.tasks}
    rows = [
        {
            "task": row["task"],
            "method": row["method"],
            "uses": study.method(row["method"]).uses,
            "used": formatting.duration(row["gpu_hours"], units[row["task"]]),
            "NFE": formatting.count(row["nfe"]),
            "train images": formatting.count(row["train_images"]),
            "scored images": formatting.count(row["scored_images"]),
            "trials": formatting.count(row["trials"]),
            "reports": formatting.count(row["reports"]),
            "runs": row["status"],
        }
        for row in data.to_dict("records")
    ]
    caption = (
        "Work of a run: means over runs that have not failed. Uses: what the method sees beyond "
        "the space; used: charged time; NFE: network evaluations."
    )
    return Table("usage", caption, data, pd.DataFrame(rows))


def _costs(study: Study, data: pd.DataFrame) -> Table:
    rows: dict[tuple[str, str], Row] = {}
    goals: dict[str, str] = {}
    for cost in data.to_dict("records"):
        task, method, target = cost["task"], cost["method"], cost["target"]
        row = rows.setdefault((task, method), {"task": task, "method": method})
        row[target] = _cost(cost, study.task(task).unit)
        goals[f"{task} {target}"] = f"{task} {target} {formatting.number(cost['value'])}"
    caption = (
        "Device time until the stored target quality: expected "
        "running time (cost of all runs over successes), 95 % chi-squared interval and "
        "successes/runs; > the budget, or "
        "as far as unfinished runs are, if none got there. "
        f"Targets: {'; '.join(goals.values()) or 'none yet'}."
    )
    columns = ["task", "method", *dict.fromkeys(data["target"])]
    text = pd.DataFrame(list(rows.values()), columns=columns).fillna(formatting.MISSING)
    return Table("cost_to_target", caption, data, text)


def _cost(cost: Row, unit: Unit) -> str:
    if not cost["runs"]:
        return formatting.MISSING
    if cost["successes"]:
        times = (cost[part] * unit.per_hour for part in ("gpu_hours", "low", "high"))
        time = f"{formatting.estimate(*times)} {unit.name}"
    else:
        time = f"> {formatting.duration(cost['censored'], unit)}"
    return f"{time} ({cost['successes']}/{cost['runs']})"


def _ledgers(data: pd.DataFrame) -> Table:
    text = data[["task", "method"]].copy()
    for ledger in measures.LEDGERS:
        text[f"{ledger} (s)"] = data[f"{ledger}_s"].map(formatting.number)
    text["peak memory (MB)"] = data["peak_memory_mb"].map(formatting.number)
    text["n"] = data["n"].astype(str)
    caption = (
        "Wall time of a run by ledger: means over n runs that have not failed. Only the method "
        "ledger is charged to the budget."
    )
    return Table("ledgers", caption, data, text)


def _operations(data: pd.DataFrame) -> Table:
    text = data[["task", "method", "operation", "kind"]].copy()
    text["charged (s)"] = data["seconds"].map(formatting.number)
    text["share (%)"] = (100 * data["share"]).map(formatting.number)
    text["n"] = data["n"].astype(str)
    caption = (
        "Charged time of a run by primitive operation: means over n runs; overhead is the "
        "method's own code."
    )
    return Table("operations", caption, data, text)


def _comparisons(study: Study, data: pd.DataFrame) -> Table:
    """Each pair once, in the primary metric at the end, the better mean first."""
    rows: list[Row] = []
    for task in study.tasks:
        metric = study.task(task).primary
        kind, level = ("ratio", 1.0) if metric.log else ("difference", 0.0)
        own = data[(data["task"] == task) & (data["metric"] == metric.name)]
        ahead = own["effect"] > level if metric.higher_is_better else own["effect"] < level
        level_pairs = (own["effect"] == level) & (own["method"] < own["other"])
        rows += [
            {
                "task": task,
                "method": row["method"],
                "other": row["other"],
                "metric": metric.title,
                "effect [95 % t]": f"{kind} {_effect(row)}",
                "p (Holm)": formatting.number(row["p_holm"], 2),
                "ahead on": f"{row['wins']}/{row['n']}",
                "better": "yes" if row["better"] else "not shown",
            }
            for row in own[ahead | level_pairs].to_dict("records")
        ]
    columns = ["task", "method", "other", "metric", "effect [95 % t]", "p (Holm)", "ahead on"]
    caption = (
        "Pairs of ranked methods at the end of the budget: effect on the primary metric (method "
        "minus other, or their ratio for metrics on a log scale) with its 95 % Student-t interval, "
        "paired over seeds; p of the exact sign-flip test after Holm's correction for all pairs of "
        "the task; seeds on which the method is ahead. Exploratory: better means a p below 0.05, "
        "an effect that matters, and a second measure that agrees."
    )
    return Table("comparisons", caption, data, pd.DataFrame(rows, columns=[*columns, "better"]))


def _effect(row: Row) -> str:
    return formatting.estimate(row["effect"], row["low"], row["high"])


def _scores(study: Study, data: pd.DataFrame) -> Table:
    """Normalised scores by task, and over all tasks for the methods that ran on all."""
    rows = [
        {"task": str(task), "method": str(method)} | _score(statistics.mean_interval(own["score"]))
        for (task, method), own in data.groupby(["task", "method"], sort=False)
    ]
    rows += [
        {"task": "all", "method": row["method"]}
        | {"score [95 % t]": _estimate(row), "n": str(row["n"])}
        for row in measures.aggregate(data).to_dict("records")
    ]
    without = [task for task in study.tasks if study.task(task).references is None]
    caption = (
        "Normalised score at the end of the budget: 0 is the task's stored default, 1 its stored "
        "tuned run, on the log scale for metrics on one. Mean and 95 % Student-t interval over n "
        "runs with a finite value; all: mean over tasks with a Welch-Satterthwaite interval, for "
        "methods with runs on every task shown."
        + (f" Without two stored references: {', '.join(without)}." if without else "")
    )
    columns = ["task", "method", "score [95 % t]", "n"]
    return Table("scores", caption, data, pd.DataFrame(rows, columns=columns))


def _score(found: statistics.Estimate) -> Row:
    value = formatting.estimate(float(found.value), float(found.low), float(found.high))
    return {"score [95 % t]": value, "n": str(found.n)}
