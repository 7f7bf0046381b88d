"""The command line with the paper's tasks in small: `python tests/paper/small.py run ...`.

Everything of `python -m benchmark` but sizes, and what follows from them: counts of samples,
steps and evaluations, widths of networks, least budgets, the prices of primitives (so that a run
is the same on any machine), and the published hashes of files that the tests replace by tiny ones.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmark import cli
from benchmark.runs import calibration, judge, recorder
from methods.bilevel_paper import finetune as published
from tasks.assets import inception
from tasks.assets.asset import digest
from tasks.data import user_data
from tasks.finetune.sd15.task import FinetuneStableDiffusion
from tasks.finetune.solvers import Linearised
from tasks.metrics import training
from tasks.schedule.network import UNet
from tasks.schedule.provided import (
    ProvidedScheduleTask,
    ScheduleCifar10,
    ScheduleMnist60kPublished,
)
from tasks.schedule.published_network import LevelUNet

PRICES = {
    "trial": 0.5,
    "reward": 0.012,
    "decode": 0.012,
    "denoise": 0.0002,
    "guided_denoise": 0.01,
    "train_step": 0.2,
    "loss": 0.1,
    "loss_gradient": 0.2,
    "update": 0.02,
    "frechet": 0.001,
    "denoise_forward": 0.0004,
    "denoise_backward": 0.0008,
    "objective_backward": 0.002,
}
"""Seconds per unit; a primitive that is not listed is an error."""


def small_networks() -> None:
    """Few channels, few images at a time, few steps."""
    ScheduleMnist60kPublished.build = lambda self: LevelUNet(base=4)  # type: ignore[method-assign]
    ScheduleCifar10.build = lambda self: UNet(8, image_channels=3)  # type: ignore[method-assign]
    for task in (ScheduleMnist60kPublished, ScheduleCifar10):
        task.batch_size = 8
        task.trial_steps = 6
        task.evaluations = 4
        task.budget = FinetuneStableDiffusion.budget
    ProvidedScheduleTask.selection_samples = 20
    ProvidedScheduleTask.report_samples = 30
    ProvidedScheduleTask.largest_batch = 20
    training.STEPS = 3
    for name, count in (
        ("samples", 5),
        ("evaluation_samples", 5),
        ("reference_samples", 10),
        ("steps", 2),
    ):
        setattr(FinetuneStableDiffusion, name, count)
    published.Linearised = lambda rounds, *others: Linearised(min(rounds, 3), *others)  # type: ignore[assignment, misc]
    judge.SAMPLES_SHOWN = 8
    recorder.EVALUATION_SPACING = (0.5, 1.0)


def accept_tiny_files() -> None:
    """Take the files that are there for the published ones."""
    file = inception.provided()
    if file is not None and file.exists():
        inception.SHA256 = digest(file, "sha256")

    def md5s(name: str) -> dict[str, str]:
        found = filter(Path.is_file, user_data.files(name))
        return {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in found}

    user_data.md5s = md5s


def fix_prices() -> None:
    measured = calibration.measure

    def measure(task: str, device: str, precision: str) -> dict[str, float]:
        return {name: PRICES[name] for name in measured(task, device, precision, repeats=1)}

    calibration.measure = measure


def main() -> None:
    small_networks()
    accept_tiny_files()
    fix_prices()
    cli.main()


if __name__ == "__main__":
    main()
