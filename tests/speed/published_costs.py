"""The cost of the paper's network: operations of a training step, memory and time of a gradient.

    python -m tests.speed.published_costs --json results/reference/benchmarks/published_costs.json

Operations are those that torch dispatches, but for views and allocations: on a GPU about the
kernels to launch. Memory is what one denoising step of one image keeps for its backward pass; the
ratio is of the processor seconds of a gradient through the sampler that recomputes each step to
those of one that keeps the whole graph.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.diffusion import sampler
from tasks.schedule.base import ScheduleTask
from tasks.schedule.published_network import LevelUNet
from tests.speed.measure import Work, kept_megabytes, machine, one_thread
from tests.speed.schedule_training import our_task, our_training

ALLOCATIONS = ("empty", "empty_like", "empty_strided", "new_empty_strided")
IMAGES = 8
"""Images of a measured gradient: ten steps of them are kept, 2.3 GB."""


class Operations(TorchDispatchMode):
    """Counts what is computed inside."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.count += not func.is_view and name not in (*ALLOCATIONS, "_unsafe_view")
        return result


def operations(work: Work) -> int:
    """Processor seconds of a call of `work`, after a first one."""
    work()
    with Operations() as counter:
        work()
    return counter.count


def kept(task: ScheduleTask) -> float:
    """Megabytes of one image and denoising step."""
    net, noise = task.begin(0).net, task.noise(IMAGES, task.generator(0)).requires_grad_()
    row = sampler.ddim(default_levels(task)).float()[0]
    before = torch.zeros_like(noise)
    return kept_megabytes(lambda: sampler.step(net, noise, before, row, 1.0)[0], net) / IMAGES


def default_levels(task: ScheduleTask) -> Tensor:
    """The sampling levels of the task's default plan."""
    return task.sampling_levels(task.position(task.space.default))


def recomputing(task: ScheduleTask, repetitions: int) -> dict[str, list[float]]:
    """Processor seconds of a gradient, in turns."""
    net, levels = task.begin(0).net, default_levels(task)
    noise = task.noise(IMAGES, task.generator(0))
    seconds: dict[str, list[float]] = {"kept": [], "recomputed": []}
    for repetition in range(repetitions + 1):
        for name, recompute in (("kept", False), ("recomputed", True)):
            started = time.process_time()
            sampler.pathwise_backward(
                net,
                levels,
                noise,
                lambda x: x.square().mean(),
                task.meter,
                recompute=recompute,
                solver=sampler.ddim,
            )
            if repetition:
                seconds[name].append(time.process_time() - started)
            net.zero_grad()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="where to write the measurements")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    one_thread()
    task = our_task("mnist28", LevelUNet)
    seconds = recomputing(task, arguments.repetitions)
    report = {
        "machine": machine(),
        "operations_per_training_step": operations(our_training(task)),
        "kept_mb_per_image_and_step": kept(task),
        "images": IMAGES,
        "processor_seconds": seconds,
        "ratio_recomputed": min(seconds["recomputed"]) / min(seconds["kept"]),
    }
    print(json.dumps(report, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
