"""How distances fall over a training, by fixed plans and by `bilevel`: stored runs of `quick`.

    python docs/studies/course.py

Printed are geometric means over seeds (of memorisation the mean) of the last report within a share
of the budget, and in how many seeds `bilevel` ends lower than each fixed plan, with the geometric
mean of the ratio; at last the plans that `bilevel` and the searches delivered, a row per seed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import benchmark
from tasks.schedule.digits import ScheduleDigitsCosine

PACK = Path(__file__).parents[2] / "results" / "reference" / "quick.parquet"
TASK = ScheduleDigitsCosine.name
COLUMNS = {
    "frechet_other": "other", "frechet_mlp": "mlp", "frechet_pixels": "pixels",
    "frechet_random": "random", "panel": "panel", "fid": "seen", "loss": "loss",
    "memorisation": "memorisation",
}  # fmt: skip
AT_THE_END = {
    "frechet_other_x5": "other, 50 evaluations",
    "panel_x5": "panel, 50 evaluations",
    "precision_other": "precision",
    "coverage_other": "coverage",
}


def until(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    """The last report of each seed by then: a column for each measure, and `steps`."""
    early = frame[frame.gpu_hours <= share * frame.budget].sort_values("gpu_hours")
    last = early.groupby(["seed", "metric"]).value.last().unstack()
    return last.assign(
        steps=early.groupby("seed").train_images.max() / ScheduleDigitsCosine.batch_size
    )


def geometric(values: pd.DataFrame) -> pd.Series:
    return np.exp(np.log(values).mean())


def main() -> None:
    frame = benchmark.load(PACK).frame
    print(
        "| method | budget | steps |", " | ".join(COLUMNS.values()), "|" + "\n" + "|---" * 11 + "|"
    )
    ends = {}
    for method in ("default", "laplace", "bilevel"):
        runs = frame[(frame.task == TASK) & (frame.method == method)]
        for share in (0.25, 0.5, 0.75, 1.0):
            values = ends[method] = until(runs, share)
            means = geometric(values[list(COLUMNS)[:-1]])
            means["memorisation"] = values.memorisation.mean()
            cells = " | ".join(f"{mean:.3g}" for mean in means)
            print(f"| {method} | {share:.0%} | {values.steps.mean():.0f} | {cells} |")
    print()
    for method, values in ends.items():
        means = geometric(values[list(AT_THE_END)])
        cells = ", ".join(f"{AT_THE_END[name]} {mean:.3g}" for name, mean in means.items())
        print(f"{method} at the end: {cells}")
    for other in ("default", "laplace"):
        counts = ", ".join(
            f"{COLUMNS[name]} {(ends['bilevel'][name] < ends[other][name]).sum()} "
            f"({geometric(ends['bilevel'][[name]] / ends[other][[name]])[name]:.3g})"
            for name in list(COLUMNS)[:-1]
        )
        print(f"seeds in which bilevel ends lower than {other}, and ratio: {counts}")
    names = [f"param:{name}" for name in ScheduleDigitsCosine.space.names]
    for method in ("bilevel", "random-then-train", "optuna-tpe-then-train"):
        runs = frame[(frame.task == TASK) & (frame.method == method)]
        plans = until(runs[runs.incumbent], 1.0)
        print(f"\n{method}\n{plans[names].to_string(float_format='{:.3g}'.format)}")


if __name__ == "__main__":
    main()
