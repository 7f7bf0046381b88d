"""Networks that predict v instead of the noise, on 8 x 8 digits at the budget of the quick suite.

    python docs/studies/velocity.py [SEEDS]

A network f trained as v makes of the noisy image x = cos(a) image + sin(a) noise the noise
sin(a) x + cos(a) f (Salimans & Ho, 2022, arXiv 2202.00512). Printed are geometric means over seeds
of the last report in the first and second half of the budget, of both fixed plans.
"""

from __future__ import annotations

import statistics
import sys
import tempfile

import torch
from torch import Tensor, nn

import benchmark
from tasks.schedule.digits import ScheduleDigitsCosine

MEASURES = ("frechet_other", "panel", "fid")


class Velocity(nn.Module):
    """A noise predictor made of a predictor of v."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        angle = (level * (torch.pi / 2))[:, None, None, None]
        return angle.sin() * images + angle.cos() * self.inner(images, level)


class DigitsVelocity(ScheduleDigitsCosine):
    name = "schedule/digits-velocity"
    description = "schedule/digits-cosine with a network that predicts v"

    def build(self) -> nn.Module:
        return Velocity(super().build())


def main(seeds: int = 2) -> None:
    tasks = ["schedule/digits-cosine", DigitsVelocity]
    with tempfile.TemporaryDirectory() as results:
        study = benchmark.run(
            tasks=tasks, methods=["default", "laplace"], seeds=seeds, budget=0.003, results=results,
            quiet=True,
        )  # fmt: skip
    frame = study.frame[study.frame.metric.isin(MEASURES)]
    print("| task | method | budget |", " | ".join(MEASURES), "|\n|---|---|---|---|---|---|")
    for share in (0.5, 1.0):
        early = frame[frame.gpu_hours <= share * frame.budget].sort_values("gpu_hours")
        last = early.groupby(["task", "method", "metric", "seed"]).value.last()
        for (task, method), values in last.groupby(["task", "method"]):
            means = (statistics.geometric_mean(values[task, method, name]) for name in MEASURES)
            cells = " | ".join(f"{mean:.3g}" for mean in means)
            print(f"| {task} | {method} | {share:.0%} | {cells} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
