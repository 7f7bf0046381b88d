"""Share of the attainable gain over device time, and the time to nearly all of it, as Markdown.

    python scripts/attainable_gain.py results/reference/finetune

The gain of a seed runs from what `default` delivers (0 %) to the best that any rival or
`bilevel` delivered at the end of its budget with that seed (100 %): evaluation noise is shared,
so that gains are paired. The last column is the expected running time until the metric is
within 2 % of that best (all time spent over runs that got there), with how many got there.
"""

import sys
from pathlib import Path

import numpy as np
from scipy import stats

from benchmark.analysis.curves import expected_running_time
from benchmark.study.model import Study
from benchmark.study.traces import Trace

FRACTIONS = (0.05, 0.1, 0.25, 0.5, 1.0)
CLOSE = 0.02


def interval(values: np.ndarray) -> str:
    """Mean with half the width of its 95 % Student-t interval."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return "-"
    half = stats.t.ppf(0.975, len(known) - 1) * stats.sem(known)
    missing = f" ({len(known)})" if len(known) < len(values) else ""
    return f"{known.mean():.0f} ± {half:.0f}{missing}"


def row(method: str, runs: list[Trace], floor: dict, best: dict, budget: float) -> str:
    moments = np.array(FRACTIONS) * budget
    gains = np.array(
        [
            100 * (run.at(moments) - floor[run.seed]) / (best[run.seed] - floor[run.seed])
            for run in runs
        ]
    )
    goals = {seed: value - CLOSE * abs(value) for seed, value in best.items()}
    hits = [run.reaches(goals[run.seed], True) for run in runs]
    found = expected_running_time(hits, [budget] * len(runs), budget)
    reached = found.successes
    cost = f"{found.hours * 3600:.2f} s" if reached else f"> {budget * 3600:.1f} s"
    cells = [interval(column) for column in gains.T]
    return "| " + " | ".join([f"`{method}`", *cells, f"{cost} ({reached}/{len(runs)})"]) + " |"


def main(folder: Path) -> None:
    study = Study.load(folder)
    for task in study.tasks:
        metric, budget = study.task(task).primary.name, study.task(task).budget
        methods = list(study.methods)
        runs = {method: study.task(task).trace(method, metric) for method in methods}
        floor = {run.seed: run.values[-1] for run in runs["default"]}
        rivals = [m for m in methods if study.method(m).ranked and runs[m]]
        best = {
            seed: max(run.values[-1] for m in rivals for run in runs[m] if run.seed == seed)
            for seed in floor
        }
        times = [f"{fraction * budget * 3600:.2g} s" for fraction in FRACTIONS]
        header = ["% of the gain at", *times, "within 2 % of the best"]
        print(f"\n{task}, n = {len(floor)}\n")
        print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
        for method in methods:
            if runs[method] and method != "default":
                print(row(method, runs[method], floor, best, budget))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
