"""Training and sampling of schedule tasks beside the published code and diffusers, in one process.

    python -m tests.speed.schedule_training --json schedule_training.json

Two questions: steps and images per second with everybody's own network, and the same with ONE
network (diffusers' UNet2DModel) inside our loop and sampler and inside diffusers' training example
and DDIMPipeline. Same data, batch, precision and thread on both sides.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.data import datasets
from tasks.diffusion import sampler
from tasks.schedule.base import ScheduleTask
from tasks.schedule.digits import ScheduleDigits
from tasks.schedule.images import ImageScheduleTask
from tasks.schedule.mnist import ScheduleMnist
from tasks.schedule.training import BATCH
from tests.speed.diffusers_example import SAMPLED, ExampleTraining, Told, pipeline, unet
from tests.speed.measure import Row, Work, compare, machine, one_thread, show, timed
from tests.speed.published_unet import PublishedDiffusion, PublishedTraining

DATASETS: dict[str, type[ImageScheduleTask]] = {"digits": ScheduleDigits, "mnist28": ScheduleMnist}
WORTH = 0.2
"""Seconds that a timed call should take at least."""


def our_task(
    dataset: str,
    build: Callable[[], nn.Module] | None = None,
    device: str = "cpu",
    precision: str = "float32",
    batch: int = BATCH,
) -> ImageScheduleTask:
    """The schedule task on `dataset`, around the network that `build` makes."""
    changes: dict[str, Any] = {"dataset": dataset, "batch_size": batch}
    if build is not None:
        changes["build"] = lambda self: build()
    task: ImageScheduleTask = type("Measured", (DATASETS[dataset],), changes)(device)
    task.precision = precision
    task.setup()
    return task


def our_training(task: ScheduleTask) -> Work:
    training = task.begin(0)
    levels = task.training_levels(task.position(task.space.default))
    return lambda: task.train_step(training, levels, 0.1)


def our_sampling(task: ScheduleTask, count: int = SAMPLED) -> Work:
    network, generator = task.begin(0).ema, task.generator(0)
    levels = task.sampling_levels(task.position(task.space.default))
    return lambda: task.sample(network, levels, task.noise(count, generator))


def row(ours: Work, theirs: Work, units: int, device: str = "cpu") -> Row:
    """A row of calls that are repeated until they are worth timing; one call is `units` units."""
    (mine, often), (other, their) = repeated(ours, device), repeated(theirs, device)
    return Row(mine, other, units * often, units * their)


def repeated(work: Work, device: str = "cpu") -> tuple[Work, int]:
    work()
    often = max(1, round(WORTH / timed(work, device)))

    def calls() -> None:
        for _ in range(often):
            work()

    return calls, often


def own_network_rows(dataset: str) -> dict[str, Row]:
    """Every side with its own network; training counted in steps, sampling in images."""
    task, train = our_task(dataset), datasets.load(dataset).train
    published = PublishedTraining(train.images, train.labels, 100_000, 0, BATCH)
    diffusion = PublishedDiffusion().eval()
    shape = task.train_images.shape[1:]
    return {
        f"{dataset}: training steps; published": row(our_training(task), published.step, 1),
        f"{dataset}: training steps; diffusers": row(
            our_training(task), ExampleTraining(dataset).step, 1
        ),
        f"{dataset}: sampled images; published": row(
            our_sampling(task),
            lambda: diffusion.sample(torch.randn(SAMPLED, *shape), sampler.STEPS),
            SAMPLED,
        ),
        f"{dataset}: sampled images; diffusers": row(
            our_sampling(task), pipeline(dataset), SAMPLED
        ),
    }


def one_network_rows(dataset: str) -> dict[str, Row]:
    """The same UNet2DModel on both sides."""
    task = our_task(dataset, lambda: Told(unet(dataset)))
    example, bare = ExampleTraining(dataset), ExampleTraining(dataset, extras=False)
    return {
        f"{dataset}: training steps; example": row(our_training(task), example.step, 1),
        f"{dataset}: training steps; example, no clip, no EMA": row(
            our_training(task), bare.step, 1
        ),
        f"{dataset}: sampled images; DDIMPipeline": row(
            our_sampling(task), pipeline(dataset), SAMPLED
        ),
    }


def weights(dataset: str) -> dict[str, int]:
    """How many each network has."""
    networks = {
        "ours": our_task(dataset).build(),
        "published": PublishedDiffusion().network,
        "diffusers": unet(dataset),
    }
    return {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()}


def rates(repetitions: int) -> dict[str, Any]:
    """Steps and images per second, measured and printed."""
    own: dict[str, Row] = {}
    one: dict[str, Row] = {}
    for dataset in DATASETS:
        own |= own_network_rows(dataset)
        one |= one_network_rows(dataset)
    report = {
        "batch": BATCH,
        "sampled": SAMPLED,
        "steps": sampler.STEPS,
        "weights": {dataset: weights(dataset) for dataset in DATASETS},
        "own_network": compare(own, repetitions),
        "one_network": compare(one, 2 * repetitions),
    }
    show(report["own_network"], "each with its own network: ours; theirs")
    show(report["one_network"], "one UNet2DModel: our loop; diffusers' loop")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="where to write the measurements")
    parser.add_argument("--repetitions", type=int, default=4)
    arguments = parser.parse_args()
    one_thread()
    torch.manual_seed(0)
    report = {"machine": machine(), **rates(arguments.repetitions), "machine_after": machine()}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
