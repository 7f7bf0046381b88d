"""How distances move over a training, by fixed plans and by `bilevel`: stored runs of `quick`.

    python docs/studies/late_rise.py

Printed are geometric means over seeds (of memorisation the mean) of the last report within a share
of the budget, and in how many seeds the primary distance is lower at half of it than at the end. At
last, in how many seeds `bilevel` ends lower than each fixed plan, which it is shown beside.
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


def until(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    """The last report of each seed by then: a column for each measure, and `steps`."""
    early = frame[frame.gpu_hours <= share * frame.budget].sort_values("gpu_hours")
    last = early.groupby(["seed", "metric"]).value.last().unstack()
    return last.assign(
        steps=early.groupby("seed").train_images.max() / ScheduleDigitsCosine.batch_size
    )


def main() -> None:
    frame = benchmark.load(PACK).frame
    print(
        "| method | budget | steps |", " | ".join(COLUMNS.values()), "|" + "\n" + "|---" * 11 + "|"
    )
    ends = {}
    for method in ("default", "laplace", "bilevel"):
        runs = frame[(frame.task == TASK) & (frame.method == method)]
        at = {share: until(runs, share) for share in (0.25, 0.5, 0.75, 1.0)}
        for share, values in at.items():
            means = np.exp(np.log(values[list(COLUMNS)[:-1]]).mean())
            means["memorisation"] = values.memorisation.mean()
            cells = " | ".join(f"{mean:.3g}" for mean in means)
            print(f"| {method} | {share:.0%} | {values.steps.mean():.0f} | {cells} |")
        ends[method] = at[1.0]
        lower = (at[0.5].frechet_other < at[1.0].frechet_other).sum()
        print(
            f"{method}: the primary distance is lower at half in {lower} of {len(at[0.5])} seeds\n"
        )
    for other in ("default", "laplace"):
        lower = (ends["bilevel"] < ends[other]).sum()
        counts = ", ".join(f"{shown} {lower[name]}" for name, shown in COLUMNS.items())
        print(f"seeds in which bilevel ends lower than {other}: {counts}")


if __name__ == "__main__":
    main()
