"""Two result sets of the same tasks: ours and a user's, two versions, two machines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis import comparison, pairwise, statistics
from benchmark.analysis.curves import at_fractions
from benchmark.display import formatting
from benchmark.study.model import Study

COLUMNS = [
    "task", "method", "metric", "mean_a", "low_a", "high_a", "n_a", "mean_b", "low_b", "high_b",
    "n_b", "effect", "low", "high", "p", "p_holm", "test", "n", "differs",
]  # fmt: skip
EXPLANATION = (
    "Means at the end of the budget with 95 % Student-t intervals, in brackets the number of "
    "seeds; geometric for metrics on a log scale. Paired t test over the seeds that both ran, "
    "Welch's where they share none; p after Holm's correction over all rows. Differs: p below "
    f"{pairwise.LEVEL:g} and at least {pairwise.ENOUGH} seeds. What is not shown is not refuted."
)
"""How to read the tables."""
MUST_AGREE = ("space", "evaluator", "reported metric")
"""Facts of a task without which its values do not compare."""
Facts = dict[str, set[str]]


@dataclass(frozen=True)
class SideBySide:
    """What two result sets say of the tasks and methods that both have."""

    data: pd.DataFrame
    """One row per task and method, full precision; columns `COLUMNS`. Effect is B minus A, or
    B / A for metrics on a log scale, with its 95 % interval; n counts the pairs of seeds, or the
    seeds of the smaller set where they are not paired."""
    tables: dict[str, pd.DataFrame]
    """The same as strings, by task and metric."""
    conclusion: str
    """What the tests show, in a sentence."""
    refused: list[str]
    """Why tasks that both have are not compared."""
    differences: list[str]
    """Provenance in which the two differ."""


def compare(a: Study, b: Study) -> SideBySide:
    """Compare the primary metric of every task and method of both, at the end of the budget.

    Paired over the seeds that both ran from the same suite seed (so that trials share theirs), if
    there are two, else unpaired (Welch); Holm's correction over all rows. Tasks whose evaluator,
    sample sizes, metrics or search space differ are refused: their values do not compare.
    """
    facts_a, facts_b = facts(a), facts(b)
    rows, refused = [], []
    for task in [name for name in a.tasks if name in b.tasks]:
        reasons = [
            f"{name} {_words(facts_a[task][name])} against {_words(facts_b[task][name])}"
            for name in MUST_AGREE
            if facts_a[task][name] != facts_b[task][name]
        ]
        if reasons:
            refused.append(f"{task} is not compared, its values mean different things: "
                           + "; ".join(reasons))  # fmt: skip
            continue
        same_seeds = facts_a[task]["suite seed"] == facts_b[task]["suite seed"]
        rows += list(_rows(task, a, b, same_seeds))
    data = pd.DataFrame(rows, columns=COLUMNS)
    data["p_holm"] = comparison.holm(data["p"].to_numpy(dtype=float))
    data["differs"] = (data["n"] >= pairwise.ENOUGH) & (data["p_holm"] < pairwise.LEVEL)
    differences = list(_differences(facts_a, facts_b))
    return SideBySide(data, _tables(a, data), _conclusion(a, data), refused, differences)


def facts(study: Study) -> dict[str, Facts]:
    """What the runs of each task say of where and how they ran, from their descriptions."""
    found: dict[str, Facts] = defaultdict(lambda: defaultdict(set))
    for described in study.descriptions:
        spec, origin, task = described["spec"], described["provenance"], described["task"]
        own = found[spec["task"]]
        own["space"].add(str(described["space_hash"]))
        # A run that ended before its models were loaded has no evaluator yet.
        own["evaluator"] |= {_sorted(task["evaluator"])} if task["evaluator"] else set()
        own["reported metric"].add(task["metrics"][0]["name"])
        own["metrics"].add(", ".join(metric["name"] for metric in task["metrics"]))
        own["suite seed"].add(str(spec["suite_seed"]))
        own["budget in GPU-hours"].add(f"{spec['budget']:g}")
        own["clock"].add(spec["clock"])
        own["device"].add(origin["device"])
        own["python"].add(origin["python"])
        own[f"options of {spec['label']}"].add(_sorted(spec["options"]) or "none")
        for package, version in origin["versions"].items():
            own[package].add(str(version))
        git = origin.get("git")
        commit = f"{git['commit'][:12]}{' with changes' if git['dirty'] else ''}" if git else "none"
        own["commit"].add(commit)
    return found


def _rows(task: str, a: Study, b: Study, same_seeds: bool) -> Iterator[dict[str, Any]]:
    metric = a.task(task).primary
    for method in [name for name in a.methods if name in b.methods]:
        ends = [_ends(study, task, method, metric.name) for study in (a, b)]
        if any(values.empty for values in ends):
            continue
        common = ends[0].index.intersection(ends[1].index)
        paired = same_seeds and len(common) > 1
        test = comparison.paired if paired else comparison.unpaired
        compared = [values[common] if paired else values for values in ends]
        effect = test(compared[1].to_numpy(), compared[0].to_numpy(), metric.log)
        row: dict[str, Any] = {"task": task, "method": method, "metric": metric.name}
        for side, values in zip("ab", ends, strict=True):
            own = statistics.mean_interval(values, metric.log)
            row |= {
                f"mean_{side}": float(own.value), f"low_{side}": float(own.low),
                f"high_{side}": float(own.high), f"n_{side}": int(own.n),
            }  # fmt: skip
        yield row | {
            "effect": float(effect.value), "low": float(effect.low), "high": float(effect.high),
            "p": float(effect.p), "test": "paired t" if paired else "Welch",
            "n": min(map(len, compared)),
        }  # fmt: skip


def _ends(study: Study, task: str, method: str, metric: str) -> pd.Series:
    """Finite values at the end of the budget by seed."""
    own = study.task(task).trace(method, metric)
    values = at_fractions(own, study.task(task).budget, (1.0,))[:, 0]
    series = pd.Series(values, index=[trace.seed for trace in own], dtype=float).sort_index()
    return series[np.isfinite(series)]


def _tables(study: Study, data: pd.DataFrame) -> dict[str, pd.DataFrame]:
    tables = {}
    for task, rows in data.groupby("task", sort=False):
        metric = study.task(str(task)).primary
        effect = "ratio B / A" if metric.log else "difference B - A"
        shown = [
            {
                "method": row["method"],
                "A (n)": _mean(row, "a"),
                "B (n)": _mean(row, "b"),
                effect: formatting.estimate(row["effect"], row["low"], row["high"]),
                "p (Holm)": formatting.number(row["p_holm"], 2),
                "test": row["test"] + (f", {row['n']} pairs" if row["test"] != "Welch" else ""),
                "differs": "yes" if row["differs"] else "not shown",
            }
            for row in rows.to_dict("records")
        ]
        tables[f"{task}, {metric.title}"] = pd.DataFrame(shown)
    return tables


def _mean(row: dict[Any, Any], side: str) -> str:
    numbers = (row[f"{part}_{side}"] for part in ("mean", "low", "high"))
    return f"{formatting.estimate(*numbers)} ({row[f'n_{side}']})"


def _conclusion(study: Study, data: pd.DataFrame) -> str:
    if data.empty:
        return "Nothing is compared."
    shown = [
        f"{row['method']} on {row['task']} (B is {_side(study, row)})"
        for row in data[data["differs"]].to_dict("records")
    ]
    text = f"Of {len(data)} comparisons {len(shown)} show a difference"
    text += f": {', '.join(shown)}" if shown else ""
    few = int((data["n"] < pairwise.ENOUGH).sum())
    if few:
        text += f"; {few} have fewer than {pairwise.ENOUGH} seeds, too few to show one"
    return f"{text}."


def _side(study: Study, row: dict[Any, Any]) -> str:
    metric = study.task(row["task"]).primary
    higher = row["effect"] > (1.0 if metric.log else 0.0)
    return "better" if higher == metric.higher_is_better else "worse"


def _differences(a: dict[str, Facts], b: dict[str, Facts]) -> Iterator[str]:
    """One line per fact that differs, with the tasks where it does."""
    tasks_by_line: dict[str, list[str]] = defaultdict(list)
    for task in [name for name in a if name in b]:
        for name in [name for name in a[task] if name in b[task] and name not in MUST_AGREE]:
            if a[task][name] != b[task][name]:
                line = f"{name}: {_words(a[task][name])} against {_words(b[task][name])}"
                tasks_by_line[line].append(task)
    common = sum(name in b for name in a)
    for line, tasks in tasks_by_line.items():
        yield line if len(tasks) == common else f"{line} ({', '.join(tasks)})"
    for own, other, side in ((a, b, "A"), (b, a, "B")):
        alone = [task for task in own if task not in other]
        if alone:
            yield f"only in {side}: {', '.join(alone)}"


def _words(values: set[str]) -> str:
    return " or ".join(sorted(values)) or "not stated"


def _sorted(value: Any) -> str:
    """Nested settings as `name value, name value`, in a fixed order."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {_sorted(value[name])}" for name in sorted(value))
