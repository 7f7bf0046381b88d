"""Two result sets of the same tasks: ours and a user's, two versions, two machines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis import claims, comparison, statistics
from benchmark.analysis.claims import ends
from benchmark.analysis.measures import INTERVAL
from benchmark.runs.design import LEVEL
from benchmark.study.model import Study

ENOUGH = 5
"""Seeds on either side from which on Welch's test may show a difference."""
COLUMNS = [
    "task", "method", "metric", "mean_a", "low_a", "high_a", "n_a", "mean_b", "low_b", "high_b",
    "n_b", "failed_a", "failed_b", "effect", "low", "high", "p", "p_holm", "test", "n", "differs",
]  # fmt: skip
EXPLANATION = (
    "Means at the end of the budget with 95 % Student-t intervals, in brackets the number of "
    "seeds; geometric for metrics on a log scale. Exact sign-flip test over the seeds that both "
    "ran, in which a failed run counts as the worst value; Welch's t test where they share none; p "
    f"after Holm's correction over all rows. Differs: p below {LEVEL:g}, from {ENOUGH} seeds on "
    "for Welch's. A non-significant difference is not evidence that the two are equal."
)
"""How to read the tables."""
PAIRED, WELCH = "sign flip", "Welch"
MUST_AGREE = ("space", "evaluator", "reported metric")
"""Facts of a task without which its values do not compare."""
Facts = dict[str, set[str]]


@dataclass(frozen=True)
class SideBySide:
    """The comparison of two result sets, on the tasks and methods that both have."""

    data: pd.DataFrame
    """One row per task and method, full precision; columns `COLUMNS`. Effect is B minus A, or
    B / A for metrics on a log scale, with its 95 % interval; n counts the pairs of seeds, or the
    seeds of the smaller set where they are not paired."""
    conclusion: str
    """The result of the tests, in a sentence."""
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
        differing = _differing(facts_a[task], facts_b[task])
        reasons = "; ".join(f"{name} {differing[name]}" for name in MUST_AGREE if name in differing)
        if reasons:
            refused.append(f"{task} is not compared, its values mean different things: {reasons}")
            continue
        same_seeds = facts_a[task]["suite seed"] == facts_b[task]["suite seed"]
        rows += list(_rows(task, a, b, same_seeds))
    data = pd.DataFrame(rows, columns=COLUMNS)
    data["p_holm"] = comparison.holm(data["p"].to_numpy(dtype=float))
    data["differs"] = ~_too_few(data) & (data["p_holm"] < LEVEL)
    differences = list(_differences(facts_a, facts_b))
    return SideBySide(data, _conclusion(a, data), refused, differences)


def facts(study: Study) -> dict[str, Facts]:
    """Provenance of the runs of each task, from their descriptions."""
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
        first, second = (ends(study.task(task), method, metric) for study in (a, b))
        if first.empty or second.empty:
            continue
        row: dict[str, Any] = {"task": task, "method": method, "metric": metric.name}
        for side, values in (("a", first), ("b", second)):
            own = statistics.mean_interval(values, metric.log)
            row |= dict(zip([f"{end}_{side}" for end in INTERVAL], own.numbers, strict=True))
            row |= {f"n_{side}": int(own.n), f"failed_{side}": int(values.isna().sum())}
        paired = same_seeds and len(first.index.intersection(second.index)) > 1
        found = (
            claims.compare(second, first, metric)
            if paired
            else comparison.unpaired(second, first, metric.log)
        )
        yield row | {"test": PAIRED if paired else WELCH} | asdict(found)


def _too_few(data: pd.DataFrame) -> pd.Series:
    """Rows whose number of seeds cannot show a difference."""
    least = data["n"].map(comparison.smallest_p)
    return pd.Series(np.where(data["test"] == PAIRED, least > LEVEL, data["n"] < ENOUGH))


def _conclusion(study: Study, data: pd.DataFrame) -> str:
    if data.empty:
        return "Nothing is compared."
    shown = [
        f"{row['method']} on {row['task']} (B is {_side(study, row)})"
        for row in data[data["differs"]].to_dict("records")
    ]
    text = f"Of {len(data)} comparisons {len(shown)} show a difference"
    text += f": {', '.join(shown)}" if shown else ""
    few = int(_too_few(data).sum())
    if few:
        text += f"; {few} have too few seeds to show one"
    failed = int(data["failed_a"].sum()), int(data["failed_b"].sum())
    if any(failed):
        text += f"; runs without a finite result: {failed[0]} in A, {failed[1]} in B"
    return f"{text}."


def _side(study: Study, row: dict[Any, Any]) -> str:
    metric = study.task(row["task"]).primary
    higher = row["effect"] > (1.0 if metric.log else 0.0)
    return "better" if higher == metric.higher_is_better else "worse"


def _differing(a: Facts, b: Facts) -> dict[str, str]:
    """What differs of the facts that both state, in words."""
    return {
        name: f"{_words(a[name])} against {_words(b[name])}"
        for name in a
        if name in b and a[name] != b[name]
    }


def _differences(a: dict[str, Facts], b: dict[str, Facts]) -> Iterator[str]:
    """One line per fact that differs, with the tasks where it does."""
    tasks_by_line: dict[str, list[str]] = defaultdict(list)
    for task in [name for name in a if name in b]:
        for name, differ in _differing(a[task], b[task]).items():
            if name not in MUST_AGREE:
                tasks_by_line[f"{name}: {differ}"].append(task)
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
