"""What EDM's preconditioning does to the course of a training, on 8 x 8 digits.

    python docs/studies/preconditioning.py [SEEDS]

Printed are geometric means over seeds of the last report within a share of the budget of `quick`,
of both fixed plans, for the task as it is and for one whose network predicts the noise as it comes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile

from torch import nn

import benchmark
from tasks.schedule.digits import ScheduleDigitsCosine
from tasks.schedule.network import Preconditioned

MEASURES = ("frechet_other", "panel", "fid", "frechet_other_x5")
SHARES = (0.25, 0.5, 0.75, 1.0)


class DigitsBare(ScheduleDigitsCosine):
    name = "schedule/digits-bare"
    description = "schedule/digits-cosine with a bare prediction of the noise"

    def build(self) -> nn.Module:
        net = super().build()
        assert isinstance(net, Preconditioned)
        return net.inner


def main(seeds: int = 2) -> None:
    tasks = ["schedule/digits-cosine", DigitsBare]
    with tempfile.TemporaryDirectory() as results:
        study = benchmark.run(
            tasks=tasks, methods=["default", "laplace"], seeds=seeds, budget=0.003, results=results,
            quiet=True,
        )  # fmt: skip
    frame = study.frame[study.frame.metric.isin(MEASURES)]
    print("| task | method | budget |", " | ".join(MEASURES), "|" + "\n" + "|---" * 7 + "|")
    for (task, method), runs in frame.groupby(["task", "method"]):
        for share in SHARES:
            early = runs[runs.gpu_hours <= share * runs.budget].sort_values("gpu_hours")
            last = early.groupby(["metric", "seed"]).value.last()
            cells = [
                f"{statistics.geometric_mean(last[name]):.3g}" if name in last else ""
                for name in MEASURES
            ]
            print(f"| {task} | {method} | {share:.0%} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
