"""Two result sets of the same tasks: ours and a user's, two versions, two machines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis import comparison, contents, formatting, pairwise, statistics
from benchmark.analysis.curves import Traces, at_fractions, traces
from benchmark.results import Results, descriptions

COLUMNS = [
    "task", "method", "metric", "mean_a", "low_a", "high_a", "n_a", "mean_b", "low_b", "high_b",
    "n_b", "effect", "low", "high", "p", "p_holm", "test", "differs",
]  # fmt: skip
MUST_AGREE = ("space", "evaluator", "metrics")
"""Facts of a task without which its values do not compare."""
Facts = dict[str, set[str]]


@dataclass(frozen=True)
class SideBySide:
    """What two result sets say of the tasks and methods that both have."""

    data: pd.DataFrame
    """One row per task and method, full precision; columns `COLUMNS`. Effect is B minus A, or
    B / A for metrics on a log scale, with its 95 % interval."""
    text: pd.DataFrame
    """The same as strings."""
    refused: list[str]
    """Why tasks that both have are not compared."""
    differences: list[str]
    """Provenance in which the two differ."""


def compare(a: Results, b: Results) -> SideBySide:
    """Compare the primary metric of every task and method of both, at the end of the budget.

    Paired over seeds where both sets ran the same seeds from the same suite seed (so that trials
    share theirs), else unpaired (Welch); Holm's correction over all rows. Tasks whose evaluator,
    sample sizes, metrics or search space differ are refused: their values do not compare.
    """
    facts_a, facts_b = facts(a), facts(b)
    found_a, found_b = traces(a), traces(b)
    rows, refused = [], []
    for task in [name for name in contents.task_names(a) if name in b.tasks]:
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
        rows += list(_rows(task, a, found_a, b, found_b, same_seeds))
    data = pd.DataFrame(rows, columns=COLUMNS)
    data["p_holm"] = comparison.holm(data["p"].to_numpy(dtype=float))
    enough = data[["n_a", "n_b"]].min(axis=1) >= pairwise.ENOUGH
    data["differs"] = enough & (data["p_holm"] < pairwise.LEVEL)
    return SideBySide(data, _text(a, data), refused, list(_differences(facts_a, facts_b)))


def facts(results: Results) -> dict[str, Facts]:
    """What the runs of each task say of where and how they ran, from their descriptions."""
    found: dict[str, Facts] = defaultdict(lambda: defaultdict(set))
    for _, described in descriptions(results.folder):
        spec, origin, task = described["spec"], described["provenance"], described["task"]
        own = found[spec["task"]]
        own["space"].add(str(described["space_hash"]))
        # A run that ended before its models were loaded has no evaluator yet.
        own["evaluator"] |= {_sorted(task["evaluator"])} if task["evaluator"] else set()
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


def _rows(
    task: str, a: Results, found_a: Traces, b: Results, found_b: Traces, same_seeds: bool
) -> Iterator[dict[str, Any]]:
    metric = contents.primary(a, task)
    for method in [name for name in contents.method_names(a) if name in b.methods]:
        ends = [
            _ends(results, found, task, method, metric.name)
            for results, found in ((a, found_a), (b, found_b))
        ]
        if any(values.empty for values in ends):
            continue
        paired = same_seeds and set(ends[0].index) == set(ends[1].index)
        test = comparison.paired if paired else comparison.unpaired
        effect = test(ends[1].to_numpy(), ends[0].to_numpy(), metric.log)
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
        }  # fmt: skip


def _ends(results: Results, found: Traces, task: str, method: str, metric: str) -> pd.Series:
    """Finite values at the end of the budget by seed."""
    own = found.of(task, method, metric)
    values = at_fractions(own, contents.budget(results, task), (1.0,))[:, 0]
    series = pd.Series(values, index=[trace.seed for trace in own], dtype=float).sort_index()
    return series[np.isfinite(series)]


def _text(results: Results, data: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in data.to_dict("records"):
        metric = contents.primary(results, row["task"])
        kind = "ratio " if metric.log else ""
        shown = {"task": row["task"], "method": row["method"], "metric": metric.title}
        for side in "ab":
            numbers = (row[f"{part}_{side}"] for part in ("mean", "low", "high"))
            shown[f"{side.upper()} [95 % t]"] = formatting.estimate(*numbers)
            shown[f"n {side.upper()}"] = str(row[f"n_{side}"])
        interval = formatting.estimate(row["effect"], row["low"], row["high"])
        shown["B to A [95 % t]"] = f"{kind}{interval}"
        shown["p (Holm)"] = formatting.number(row["p_holm"], 2)
        shown["test"] = row["test"]
        shown["differs"] = "yes" if row["differs"] else "not shown"
        rows.append(shown)
    return pd.DataFrame(rows)


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
