"""Tables for people: final quality, cost to a target, and where the time went.

`write_tables` writes each one as CSV (tidy, full precision), Markdown and LaTeX; `summary`
is the short form for a terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmark.analysis import contents, formatting, measures, statistics
from benchmark.analysis.curves import traces
from benchmark.results import Results

INTERVAL = statistics.interval_name(False)
INTERVAL_NOTE = (
    f"{INTERVAL} over n seeds; geometric mean and log-scale interval for metrics on a log scale"
)


@dataclass(frozen=True)
class Table:
    """One table: its numbers, and the same as strings."""

    name: str
    caption: str
    data: pd.DataFrame
    text: pd.DataFrame


def tables(results: Results) -> list[Table]:
    """All tables of the results."""
    found = traces(results)
    quality = measures.quality(results, found)
    return [
        Table(
            "quality",
            f"Primary metric at shares of the budget ({INTERVAL_NOTE}).",
            quality,
            _quality_text(results, quality, measures.usage(results)),
        ),
        Table(
            "metrics",
            f"All reported metrics at the end of the budget ({INTERVAL_NOTE}).",
            quality[quality["fraction"] == 1.0].drop(columns="fraction"),
            _metrics_text(results, quality),
        ),
        _usage_table(results),
        _cost_table(results, measures.costs(results, found)),
        _ledger_table(results),
        _operation_table(results),
    ]


def summary(results: Results) -> pd.DataFrame:
    """One row of strings per task × method: quality over the budget, and what it took."""
    quality = measures.quality(results, traces(results))
    return _quality_text(results, quality, measures.usage(results))


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write every table as `NAME.csv`, `NAME.md` and `NAME.tex`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables(results):
        writers: dict[str, Callable[[Table], str]] = {"csv": _csv, "md": _markdown, "tex": _latex}
        for extension, write in writers.items():
            path = folder / f"{table.name}.{extension}"
            path.write_text(write(table), encoding="utf-8")
            written.append(path)
    return written


def _quality_text(results: Results, quality: pd.DataFrame, usage: pd.DataFrame) -> pd.DataFrame:
    cells = {key: rows for key, rows in quality.groupby(["task", "method", "metric"])}
    work = usage.set_index(["task", "method"])
    rows = []
    for task, method in measures.pairs(results):
        metric = contents.primary(results, task)
        values = cells[task, method, metric.name].set_index("fraction")
        final = values.loc[1.0]
        used = work.loc[(task, method)]
        row = {"task": task, "method": method, "metric": metric.title}
        for fraction in measures.FRACTIONS[:-1]:
            row[f"at {formatting.percent(fraction)}"] = formatting.number(
                values.loc[fraction, "mean"]
            )
        row["at the end [95 % t]"] = formatting.estimate(final["mean"], final["low"], final["high"])
        row["n"] = f"{final['n']:.0f}"
        row["used"] = formatting.duration(used["gpu_hours"], contents.unit(results, task))
        row["NFE"] = formatting.count(used["nfe"])
        row["trials"] = formatting.count(used["trials"])
        row["runs"] = used["status"]
        rows.append(row)
    return pd.DataFrame(rows)


def _metrics_text(results: Results, quality: pd.DataFrame) -> pd.DataFrame:
    titles = {
        (task, metric.name): metric.title
        for task in contents.task_names(results)
        for metric in contents.metrics(results, task)
    }
    final = quality[quality["fraction"] == 1.0]
    return pd.DataFrame(
        {
            "task": final["task"],
            "method": final["method"],
            "metric": [titles[key] for key in zip(final["task"], final["metric"], strict=True)],
            "at the end [95 % t]": [
                formatting.estimate(mean, low, high)
                for mean, low, high in zip(final["mean"], final["low"], final["high"], strict=True)
            ],
            "median": final["median"].map(formatting.number),
            "IQM": final["iqm"].map(formatting.number),
            "n": final["n"].astype(str) + "/" + final["runs"].astype(str),
        }
    )


def _usage_table(results: Results) -> Table:
    data = measures.usage(results)
    units = {task: contents.unit(results, task) for task in contents.task_names(results)}
    counts = ["nfe", "train_images", "scored_images", "trials", "reports"]
    text = data[["task", "method"]].copy()
    text["used"] = [
        formatting.duration(hours, units[task])
        for task, hours in zip(data["task"], data["gpu_hours"], strict=True)
    ]
    for column in counts:
        text[column.replace("_", " ").replace("nfe", "NFE")] = data[column].map(formatting.count)
    text["runs"] = data["status"]
    caption = "Work done by a run: means over runs that have not failed (NFE: network evaluations)."
    return Table("usage", caption, data, text)


def _cost_table(results: Results, data: pd.DataFrame) -> Table:
    text = []
    for (task, method), rows in data.groupby(["task", "method"], sort=False):
        unit = contents.unit(results, task)
        row = {"task": task, "method": method}
        for cost in rows.itertuples():
            row[cost.target] = _cost_text(cost, unit)
        text.append(row)
    goals = data.drop_duplicates(["task", "target"])
    named = "; ".join(
        f"{task}: "
        + ", ".join(
            f"{goal.target} {formatting.number(goal.value)}"
            + (f" by {goal.target_method}" if goal.target != goal.target_method else "")
            for goal in rows.itertuples()
        )
        for task, rows in goals.groupby("task", sort=False)
    )
    caption = (
        "Device time until the quality that others reach at the end of the budget: expected "
        "running time (cost of all runs over successes) and successes/runs; "
        f"> budget where no run reached it. Targets: {named or 'none yet'}."
    )
    columns = ["task", "method", *dict.fromkeys(data["target"])]
    frame = pd.DataFrame(text, columns=columns).fillna(formatting.MISSING)
    return Table("cost_to_target", caption, data, frame)


def _cost_text(cost: object, unit: contents.Unit) -> str:
    hours, successes, runs = cost.gpu_hours, cost.successes, cost.runs  # type: ignore[attr-defined]
    if not runs:
        return formatting.MISSING
    budget: float = cost.budget  # type: ignore[attr-defined]
    reached = (
        formatting.duration(hours, unit) if successes else f"> {formatting.duration(budget, unit)}"
    )
    return f"{reached} ({successes}/{runs})"


def _ledger_table(results: Results) -> Table:
    data = measures.ledgers(results)
    text = data[["task", "method"]].copy()
    for ledger in measures.LEDGERS:
        charged = " (charged)" if ledger == "method" else ""
        text[f"{ledger}{charged} (s)"] = data[f"{ledger}_s"].map(formatting.number)
    text["peak memory (MB)"] = data["peak_memory_mb"].map(formatting.number)
    text["n"] = data["n"].astype(str)
    caption = "Wall time of a run by ledger: means over runs that have not failed."
    return Table("ledgers", caption, data, text)


def _operation_table(results: Results) -> Table:
    data = measures.operations(results)
    text = data[["task", "method", "operation"]].copy()
    text["charged (s)"] = data["seconds"].map(formatting.number)
    text["share"] = [formatting.MISSING if x != x else f"{100 * x:.1f} %" for x in data["share"]]
    text["n"] = data["n"].astype(str)
    caption = "Charged time of a run by primitive operation; overhead is the method's own code."
    return Table("operations", caption, data, text)


def _csv(table: Table) -> str:
    return table.data.to_csv(index=False, lineterminator="\n")


def _markdown(table: Table) -> str:
    cells = table.text.map(lambda cell: str(cell).replace("|", "\\|"))
    body = cells.to_markdown(index=False, disable_numparse=True)
    return f"{table.caption}\n\n{body}\n"


_LATEX_SYMBOLS = {
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "×": r"$\times$", "λ": r"$\lambda$",
    "&gt;": ">",
}  # fmt: skip


def _latex(table: Table) -> str:
    """A booktabs table; needs `\\usepackage{booktabs}`."""
    text = table.text.to_latex(
        index=False,
        escape=True,
        caption=_escape(table.caption),
        label=f"tab:{table.name}",
        position="tb",
        column_format="l" * len(table.text.columns),
    )
    for symbol, command in _LATEX_SYMBOLS.items():
        text = text.replace(symbol, command)
    return "% needs \\usepackage{booktabs}\n" + text


def _escape(text: str) -> str:
    for symbol in "&%$#_{}":
        text = text.replace(symbol, f"\\{symbol}")
    return text
