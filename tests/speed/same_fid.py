"""Seconds of training until a whole run ends at the Fréchet distance of a published one.

    python -m tests.speed.same_fid --json schedule_fid.json

A whole run of our loop with our network, its learning-rate schedule included, against one of the
published loop with the published network: same data, batch, precision and thread, scored alike.
About three minutes; `--full` trains longer, on MNIST too, and over several seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tasks.data import datasets
from tasks.diffusion.sampler import noise_level
from tasks.metrics.frechet import FrechetReference
from tasks.schedule.plans import PUBLISHED
from tasks.training import Training
from tests.speed.measure import Work, machine, one_thread, timed
from tests.speed.published_unet import PublishedTraining
from tests.speed.schedule_training import DATASETS, our_task

SCORED = 500
"""Images behind a Fréchet distance."""


@dataclass(frozen=True)
class Run:
    """One whole training."""

    steps: int
    seconds: float
    processor_seconds: float
    fid: float
    fid2: float


class Ours:
    """Runs of our loop with our network."""

    def __init__(self, dataset: str) -> None:
        self.task = our_task(dataset)
        self.levels = self.task.training_levels(self.task.position(self.task.space.default))

    def start(self, steps: int, seed: int) -> Work:
        self.training: Training = self.task.begin(seed)
        fractions = iter(step / steps for step in range(steps))
        return lambda: self.task.train_step(self.training, self.levels, next(fractions))

    def networks(self) -> list[nn.Module]:
        return [self.training.ema]


class Published:
    """Runs of the published loop with the published network."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        default = torch.tensor(PUBLISHED.space.to_unit(PUBLISHED.space.default))
        self.levels = noise_level(PUBLISHED.training_levels(default)).float()

    def start(self, steps: int, seed: int) -> Work:
        train = datasets.load(self.dataset).train
        self.training = PublishedTraining(train.images, train.labels, steps, seed)
        return self.training.step

    def networks(self) -> list[nn.Module]:
        """The averaged and the last weights: in a short run the average may lag behind."""
        models = (self.training.ema.module, self.training.model)
        return [Timed(model.network, self.levels).eval() for model in models]


class Timed(nn.Module):
    """A network conditioned on time steps, looked up from our noise level."""

    levels: Tensor

    def __init__(self, network: nn.Module, levels: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("levels", levels)

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        nearest = (self.levels - level[0]).abs().argmin()
        noise: Tensor = self.network(images, nearest.expand(len(images)))
        return noise


class Race:
    """Both sides on one data set, scored alike: the ten evaluations of the default plan,
    against the report split."""

    SPEED_STEPS: ClassVar[int] = 3

    def __init__(self, dataset: str, seed: int) -> None:
        self.judge, self.seed = our_task(dataset), seed
        self.levels = self.judge.sampling_levels(self.judge.position(self.judge.space.default))
        self.ours, self.published = Ours(dataset), Published(dataset)

    def train(self, side: Ours | Published, seconds: float) -> Run:
        """A whole run of about `seconds`, and the best distance among its networks."""
        step = side.start(100, self.seed)
        step()
        per_step = timed(lambda: [step() for _ in range(self.SPEED_STEPS)]) / self.SPEED_STEPS
        steps = max(2, round(seconds / per_step))
        step = side.start(steps, self.seed)
        busy = time.process_time()
        taken = timed(lambda: [step() for _ in range(steps)])
        busy = time.process_time() - busy
        fid, fid2 = min(self.distances(network) for network in side.networks())
        return Run(steps, taken, busy, fid, fid2)

    def distances(self, network: nn.Module) -> tuple[float, float]:
        noise = self.judge.noise(SCORED, self.judge.generator(self.seed))
        images = self.judge.sample(network, self.levels, noise)
        judge, other = self.judge, self.judge.panel.spaces[0]
        with torch.no_grad():
            seen = judge.report_reference.distance(judge.features(images))
            unseen = FrechetReference(other.embed(judge.report_images))
            return float(seen), float(unseen.distance(other.embed(images)))

    def result(self, horizons: list[float]) -> dict[str, Any]:
        """Runs of the published side at `horizons` of seconds, ours from the shortest on in steps
        of 1.4 until the best published distance is reached, and who took how long."""
        theirs = [self.train(self.published, horizon) for horizon in horizons]
        best, mine, horizon = min(run.fid for run in theirs), [], 0.25
        while horizon < max(horizons) and not (mine and mine[-1].fid <= best):
            mine.append(self.train(self.ours, horizon))
            horizon *= 1.4
        untrained, _ = self.distances(self.judge.begin(self.seed).ema)
        return {
            "seed": self.seed,
            "untrained": untrained,
            "ours": [asdict(run) for run in mine],
            "published": [asdict(run) for run in theirs],
            "same_fid": [_matched(run, mine) for run in theirs],
        }


def _matched(theirs: Run, mine: list[Run]) -> dict[str, Any]:
    """The quickest of our runs that is no worse than `theirs`."""
    good = [run for run in mine if run.fid <= theirs.fid]
    if not good:
        return {"fid": theirs.fid, "published": theirs.seconds, "ours": None, "ratio": None}
    ours = min(good, key=lambda run: run.seconds)
    return {
        "fid": theirs.fid,
        "published": theirs.seconds,
        "ours": ours.seconds,
        "ours_fid": ours.fid,
        "ratio": theirs.seconds / ours.seconds,
        "ratio_processor": theirs.processor_seconds / ours.processor_seconds,
    }


def main() -> None:
    arguments = parse()
    one_thread()
    torch.manual_seed(0)
    report: dict[str, Any] = {"machine": machine()}
    report["same_fid"] = {
        dataset: [Race(dataset, seed).result(horizons) for seed in range(arguments.seeds)]
        for dataset, horizons in arguments.horizons.items()
    }
    show_races(report["same_fid"])
    report["machine_after"] = machine()
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="where to write the measurements")
    parser.add_argument("--seeds", type=int, help="runs per horizon (1; with --full 3)")
    parser.add_argument("--full", action="store_true", help="longer trainings, on MNIST too")
    parser.add_argument("--seconds", type=float, nargs="+", help="horizons of published trainings")
    arguments = parser.parse_args()
    arguments.seeds = arguments.seeds or (3 if arguments.full else 1)
    seconds = arguments.seconds or ([20, 60, 180] if arguments.full else [15, 45, 90])
    arguments.horizons = dict.fromkeys(DATASETS if arguments.full else ["digits"], seconds)
    return arguments


def show_races(races: dict[str, list[dict[str, Any]]]) -> None:
    print(f"{'seconds to the same FID':30} {'FID':>8} {'published':>10} {'ours':>8} {'ratio':>7}")
    for dataset, runs in races.items():
        for run in runs:
            for entry in run["same_fid"]:
                name = f"{dataset}, untrained {run['untrained']:.1f}"
                start = f"{name:30} {entry['fid']:8.2f} {entry['published']:10.1f}"
                found = entry["ours"] is not None
                print(start, f"{entry['ours']:8.2f} {entry['ratio']:7.1f}" if found else "never")


if __name__ == "__main__":
    main()
