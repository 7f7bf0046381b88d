"""What `torch.compile` gains on the networks of schedule tasks, and how long compiling takes.

    python -m tests.speed.compiled --json results/reference/benchmarks/compiled.json

A compiled network is compared with the same one in eager mode, alternating in one process, in a
training step, in sampling and in the gradient of the Fréchet distance through the sampler. Each use
compiles its own graphs, once per process; the first call is timed separately. On CUDA also with
CUDA graphs (mode "reduce-overhead"). The report and the screen name a mode that fails or compiles
nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from tasks.diffusion.precision import lowered
from tasks.diffusion.sampler import Denoiser
from tasks.schedule.base import ScheduleTask
from tasks.schedule.published_network import LevelUNet
from tests.speed.measure import Work, compare, machine, one_thread, show, timed
from tests.speed.schedule_training import DATASETS, our_sampling, our_task, our_training, row

SAMPLED = 500
DIFFERENTIATED = 32
"""Images of one gradient: all ten steps of them are kept, 3 GB of the paper's network."""
NETWORKS: dict[str, tuple[str, Callable[[], nn.Module] | None]] = {
    **{name: (name, None) for name in DATASETS},
    "mnist28, published network": ("mnist28", LevelUNet),
}
"""Data set and network of each case; None for the task's own."""


def predict(network: nn.Module, images: Tensor, level: Tensor) -> Tensor:
    """A call of any network: networks of one shape share the graphs compiled for it."""
    noise: Tensor = network(images, level)
    return noise


def compiled_task(task: ScheduleTask, mode: str | None) -> ScheduleTask:
    """`task`, its networks compiled from now on."""
    call = torch.compile(predict, mode=mode, dynamic=False, recompile_limit=64)

    def denoiser(network: nn.Module) -> Denoiser:
        return lowered(lambda images, level: call(network, images, level), task.precision)

    task.denoiser = denoiser
    return task


def gradient(task: ScheduleTask) -> Work:
    """The gradient of the Fréchet distance in the weights."""
    net, generator = task.begin(0).net, task.generator(0)
    levels = task.sampling_levels(task.position(task.space.default))

    def work() -> None:
        task.frechet_gradient(net, levels, task.noise(DIFFERENTIATED, generator))
        net.zero_grad()

    return work


USES: dict[str, tuple[Callable[[ScheduleTask], Work], int]] = {
    "training steps": (our_training, 1),
    "sampled images": (lambda task: our_sampling(task, SAMPLED), SAMPLED),
    "images in a gradient": (gradient, DIFFERENTIATED),
}


def measure(case: str, mode: str | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the first calls, and rows: compiled; as it is."""
    dataset, build = NETWORKS[case]
    device, precision = arguments.device, arguments.precision
    plain = our_task(dataset, build, device, precision)
    compiled = compiled_task(our_task(dataset, build, device, precision), mode)
    works = {use: make(compiled) for use, (make, _) in USES.items()}
    before = graphs()
    first = {use: timed(work, device) for use, work in works.items()}
    if graphs() == before:
        raise RuntimeError("nothing was compiled")
    rows = {
        f"{case}: {use}": row(works[use], make(plain), units, device)
        for use, (make, units) in USES.items()
    }
    return {"first_call": first, "rows": compare(rows, arguments.repetitions, device)}


def graphs() -> int:
    """How many this process has compiled."""
    return int(counters["stats"]["unique_graphs"])


def attempt(case: str, mode: str | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """`measure`, or why it failed: what compiles on one machine may not on another."""
    found: dict[str, Any] = {"case": case, "mode": mode or "default"}
    try:
        found |= measure(case, mode, arguments)
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
        print(f"{case}, {found['mode']}: {found['error'].splitlines()[0]}")
    else:
        show(found["rows"], f"{case}, {found['mode']}: compiled; as it is")
        print(f"first calls, seconds: {found['first_call']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="where to write the measurements")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=ScheduleTask.precisions, default="float32")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--case", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    arguments = parser.parse_args()
    one_thread()
    torch.manual_seed(0)
    modes = (None, "reduce-overhead") if arguments.device.startswith("cuda") else (None,)
    cases = [attempt(case, mode, arguments) for case in arguments.case for mode in modes]
    if arguments.json:
        described = machine(arguments.device) | {"precision": arguments.precision}
        report = {"machine": described, "cases": cases}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
