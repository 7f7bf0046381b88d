"""What training and sampling levels each contribute on 8 x 8 digits.

    python docs/studies/schedule_factorial.py [SEEDS] [STEPS]

Networks are trained from seed 100 on, at two sets of training levels, for STEPS steps with the
decay of the task; the averaged weights are sampled at two sets of sampling levels, common noise.
Printed, as Markdown, are means over seeds (geometric ones of distances and variances) at three
shares of the training:

- distances to the report split, and the variance of the pixels over that of real images;
- `direction`: the cosine between the mean error of the features behind `frechet_other` and that at
  the end of the training: -1 where the mean errs the other way;
- what a network makes of noisy images of the report split at a level: the error of the predicted
  clean image over the variance of images, which is 1 for the mean image, and the slope of the clean
  image on the predicted one: below 1 where predictions scatter too much, above 1 where too little.
"""

import statistics
import sys
from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.base import FreeMeter
from tasks.diffusion.sampler import noise_level, signal_and_spread
from tasks.schedule.digits import ScheduleDigitsCosine
from tasks.schedule.plans import COSINE, KARRAS, LAPLACE

FIRST_SEED = 100
SHARES = (0.25, 0.5, 1.0)
TRAINING = {"cosine": COSINE, "Laplace": LAPLACE}
SAMPLING = {"uniform steps": COSINE, "EDM": KARRAS}
MEASURES = ("frechet_other", "panel", "fid", "variance", "direction")
LEVELS = (-3.0, -2.0, -1.0, 0.0, 2.0)
REPEATS = 4
"""Noises per image of the report split."""

Found = defaultdict[tuple[str, ...], list[float]]
"""Names of what was measured, to one value per seed."""


class Study:
    """The task, and everything that was measured on it."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.task = ScheduleDigitsCosine()
        self.task.setup()
        self.task.meter = FreeMeter()
        self.found: Found = defaultdict(list)
        (self.other,) = (x for x in self.task.panel.spaces if x.name == "other")

    def positions(self, points: dict[str, dict[str, float]]) -> dict[str, Tensor]:
        """Positions in the unit cube of the plans called as in `points`."""
        default = self.task.space.default
        return {name: self.task.position(default | point) for name, point in points.items()}

    def train(self, plan: str, seed: int) -> None:
        """Train once, and measure on the way."""
        task = self.task
        levels = task.training_levels(self.positions(TRAINING)[plan])
        training = task.begin(seed)
        shifts = {}
        for share in SHARES:
            while training.step < round(share * self.steps):
                task.train_step(training, levels, training.step / self.steps)
            for sampling, position in self.positions(SAMPLING).items():
                cell = plan, sampling, f"{share:.0%}"
                shifts[cell] = self.sampled(training.ema, cell, position, seed)
            for level in LEVELS:
                self.calibrated(training.ema, (plan, f"{share:.0%}"), level)
        for (_, sampling, share), shift in shifts.items():
            last = shifts[plan, sampling, "100%"]
            cosine = F.cosine_similarity(shift, last, dim=0)
            self.found[plan, sampling, share, "direction"].append(float(cosine))

    def sampled(self, net: nn.Module, cell: tuple[str, ...], position: Tensor, seed: int) -> Tensor:
        """Measure images at the sampling levels of `position`; the mean error of the features."""
        task, real = self.task, self.task.report_images
        noise = task.noise(task.report_samples, task.generator(seed))
        images = task.sample(net, task.sampling_levels(position), noise)
        values = task.distances(images)
        values["variance"] = float(images.var(0).sum() / real.var(0).sum())
        for name in MEASURES[:-1]:
            self.found[*cell, name].append(values[name])
        return self.other.embed(images).mean(0) - self.other.embed(real).mean(0)

    @torch.no_grad()
    def calibrated(self, net: nn.Module, cell: tuple[str, ...], level: float) -> None:
        """Measure the predicted clean images at a `level`."""
        lsnr = torch.tensor(level, dtype=torch.float64)
        signal, spread = (factor.float() for factor in signal_and_spread(lsnr))
        clean = self.task.report_images.repeat(REPEATS, 1, 1, 1)
        noisy = signal * clean + spread * self.task.noise(len(clean), self.task.generator(0))
        noise = net(noisy, noise_level(lsnr).float().expand(len(noisy)))
        guess = ((noisy - spread * noise) / signal).clamp(-1, 1)
        scatter, true = guess - guess.mean(0), clean - clean.mean(0)
        error = (guess - clean).square().mean() / true.square().mean()
        self.found[*cell, f"{level:g}", "error"].append(float(error))
        slope = (scatter * true).sum() / scatter.square().sum()
        self.found[*cell, f"{level:g}", "slope"].append(float(slope))

    def mean(self, *cell: str) -> str:
        distance = cell[-1] in MEASURES[:-1]
        average = statistics.geometric_mean if distance else statistics.mean
        return f"{average(self.found[cell]):.3g}"

    def tables(self) -> None:
        shares = [f"{share:.0%}" for share in SHARES]
        header("training", "sampling", "share", *MEASURES)
        for plan in TRAINING:
            for sampling in SAMPLING:
                for share in shares:
                    row(
                        plan,
                        sampling,
                        share,
                        *(self.mean(plan, sampling, share, m) for m in MEASURES),
                    )
        print()
        header("training", "share", *(f"error, slope at {level:g}" for level in LEVELS))
        for plan in TRAINING:
            for share in shares:
                cells = [(plan, share, f"{level:g}") for level in LEVELS]
                row(
                    plan,
                    share,
                    *(f"{self.mean(*c, 'error')}, {self.mean(*c, 'slope')}" for c in cells),
                )


def header(*titles: str) -> None:
    row(*titles)
    print("|---" * len(titles) + "|")


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |")


def main(seeds: int = 3, steps: int = 1200) -> None:
    torch.set_num_threads(1)
    study = Study(steps)
    print(f"{study.task.name}, {steps} steps, n = {seeds}\n")
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        for plan in TRAINING:
            study.train(plan, seed)
    study.tables()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
