"""Training and sampling on a GPU: the same network in our loop and in those of others.

    python -m tests.speed.gpu

Writes results/reference/gpu/<device>.json, <device>-compiled.json and <device>-guided.json. Every
row of the first has one network on both sides, diffusers' UNet2DModel or the paper's own,
alternating in one process, and names the precision of each side. Beside the ratios:
floating-point operations of one training step as torch counts them, their share of the device's
peak (`--peak-tflops`, or the data sheet of a known device), peak memory, and the two sides of a
zeroth-order difference in one batch against two calls. The others are `tests.speed.compiled` and
`tests.speed.guided_sampling --true-size`. `--quick --device cpu` tries it out, without them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tasks.data import datasets
from tasks.diffusion import sampler
from tasks.schedule.base import ScheduleTask
from tasks.schedule.published_network import LevelUNet, PublishedUNet
from tasks.schedule.training import BATCH
from tests.speed import published_unet
from tests.speed.diffusers_example import ExampleTraining, Told, pipeline, unet
from tests.speed.measure import Row, Work, compare, machine, one_thread, show, timed
from tests.speed.published_unet import PublishedDiffusion, PublishedTraining
from tests.speed.schedule_training import (
    DATASETS,
    our_sampling,
    our_task,
    our_training,
    row,
)

FOLDER = Path(__file__).parents[2] / "results/reference/gpu"
PEAK_TFLOPS = {
    r"NVIDIA A100-\S+|NVIDIA A100 80GB PCIe": {"float32": 156, "bfloat16": 312},
    r"NVIDIA H100 80GB HBM3": {"float32": 495, "bfloat16": 989},
    r"NVIDIA H100 PCIe": {"float32": 378, "bfloat16": 756},
    r"NVIDIA H200": {"float32": 495, "bfloat16": 989},
}
"""By the whole name that CUDA gives a device. Dense, half of what NVIDIA's data sheets say with
sparsity; float32 as TF32, in which torch convolves by default. NVIDIA's sheets were read at second
hand: bfloat16 from torchtitan's `get_peak_flops` and Lightning's `throughput.py`, which cite them
(nvidia-a100-datasheet-us-nvidia-1758950-r4-web, nvidia-tensor-core-gpu-datasheet, and the product
pages of A100, H100 and H200), TF32 from vendors' and reviewers' copies of the same tables. Where
none was found (H100 NVL, H200 NVL, parts of a device) nothing is said."""
DIFFERENCE_SAMPLES = (36, 128)
"""Images on each side of a difference: the published and the package's own."""


class Stepped(nn.Module):
    """A diffusers network as the published loop calls it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        noise: torch.Tensor = self.network(images, steps, return_dict=False)[0]
        return noise


def published_rows(
    task: ScheduleTask, ours: str, network: Callable[[], nn.Module], sampled: int
) -> dict[str, Row]:
    """`task` against the published loop and sampler around `network`, conditioned on the step."""
    train, shape = datasets.load(task.dataset).train, task.train_images.shape[1:]
    published = PublishedTraining(
        train.images, train.labels, 1_000_000, 0, task.batch_size, network(), task.device
    )
    diffusion = PublishedDiffusion(network()).to(task.device).eval()

    def sampling() -> Any:
        return diffusion.sample(torch.randn(sampled, *shape, device=task.device), sampler.STEPS)

    return {
        f"{ours}: training steps; published loop, float32": row(
            our_training(task), published.step, 1, task.device
        ),
        f"{ours}: sampled images; published loop, float32": row(
            our_sampling(task, sampled), sampling, sampled, task.device
        ),
    }


def rows(dataset: str, device: str, precision: str, sampled: int) -> dict[str, Row]:
    """Training in steps and sampling in images, with one network on both sides: diffusers' and the
    paper's."""
    task = our_task(dataset, lambda: Told(unet(dataset)), device, precision)
    paper = our_task(dataset, LevelUNet, device, precision, published_unet.BATCH)
    example = ExampleTraining(dataset, device=device, precision=precision)
    ours = f"{dataset}, ours in {precision}"
    name = f"{dataset}, the paper's network, ours in {precision}"
    return {
        **published_rows(task, ours, lambda: Stepped(unet(dataset)), sampled),
        f"{ours}: training steps; diffusers' example, {precision}": row(
            our_training(task), example.step, 1, device
        ),
        f"{ours}: sampled images; DDIMPipeline, float32": row(
            our_sampling(task, sampled), pipeline(dataset, sampled, device), sampled, device
        ),
        **published_rows(paper, name, PublishedUNet, sampled),
    }


def differences(dataset: str, device: str, precision: str) -> dict[str, Row]:
    """Both sides of a difference in one batch (ours) and in two calls, with our own network."""
    task = our_task(dataset, None, device, precision)
    found = {}
    for count in DIFFERENCE_SAMPLES:
        together, apart = both_sides(task, count)
        name = f"{dataset}, {precision}: 2 x {count} images in one batch; in two calls"
        found[name] = row(together, apart, 2 * count, device)
    return found


def both_sides(task: ScheduleTask, count: int) -> tuple[Work, Work]:
    net = task.begin(0).ema
    levels = task.sampling_levels(task.position(task.space.default))
    sets, noise = torch.stack([levels, levels * 1.02]), task.noise(count, task.generator(0))
    start = torch.cat([noise, noise])
    return (
        lambda: sampler.sample(task.denoiser(net), sets, start, task.meter, task.clip),
        lambda: [task.sample(net, one, noise) for one in sets],
    )


def step_costs(dataset: str, device: str, precision: str, peak: float | None) -> dict[str, Any]:
    """GFLOP of one training step of our own network, its rate, and peak memory on CUDA."""
    task = our_task(dataset, None, device, precision)
    step = our_training(task)
    step()
    with FlopCounterMode(display=False) as counter:
        step()
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    repeats = 50 if cuda else 5
    seconds = min(timed(lambda: [step() for _ in range(repeats)], device) for _ in range(3))
    flops = counter.get_total_flops()
    rate = flops * repeats / seconds / 1e12
    return {
        "dataset": dataset,
        "precision": precision,
        "batch": BATCH,
        "gflop_per_step": flops / 1e9,
        "tflop_per_second": rate,
        "peak_tflops": peak,
        "utilisation": None if peak is None else rate / peak,
        "peak_memory_mb": torch.cuda.max_memory_allocated() / 1e6 if cuda else None,
    }


def peak_of(name: str, precision: str, given: float | None) -> float | None:
    """TFLOP/s of the device `name`, or None if nobody knows."""
    known = (rates[precision] for names, rates in PEAK_TFLOPS.items() if re.fullmatch(names, name))
    return given if given is not None else next(known, None)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole report."""
    device, report = arguments.device, {"machine": machine(arguments.device)}
    name = report["machine"]["device"]
    report["machine"]["precision"] = ", ".join(arguments.precision)
    report["machine"]["tf32"] = (
        f"convolutions {torch.backends.cudnn.allow_tf32}, "
        f"products {torch.backends.cuda.matmul.allow_tf32}"
    )
    together: dict[str, Row] = {}
    sides: dict[str, Row] = {}
    costs = []
    for dataset in ["digits"] if arguments.quick else DATASETS:
        for precision in arguments.precision:
            together |= rows(dataset, device, precision, 8 if arguments.quick else 500)
            sides |= differences(dataset, device, precision)
            peak = peak_of(name, precision, arguments.peak_tflops)
            costs.append(step_costs(dataset, device, precision, peak))
    return report | {
        "one_network": compare(together, arguments.repetitions, device),
        "differences": compare(sides, 3 * arguments.repetitions, device),
        "step_costs": costs,
        "load_after": machine(device)["load"],
    }


def file_of(report: dict[str, Any]) -> Path:
    """Where a report is kept: one file per device."""
    name = re.sub(r"[^a-z0-9]+", "-", report["machine"]["device"].lower()).strip("-")
    return FOLDER / f"{name}.json"


def main() -> None:
    arguments = parse()
    one_thread()
    torch.manual_seed(0)
    report = measure(arguments)
    show(report["one_network"], "one network: ours; theirs")
    show(report["differences"], "two sides of a difference: images")
    for cost in report["step_costs"]:
        print(json.dumps(cost))
    file = arguments.json or file_of(report)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1) + "\n")
    print(file)
    if not arguments.quick:
        for name, options in (("compiled", ()), ("guided_sampling", ("--true-size",))):
            beside = file.with_stem(f"{file.stem}-{name.removesuffix('_sampling')}")
            apart(name, "--device", arguments.device, "--json", str(beside), *options)


def apart(name: str, *options: str) -> None:
    """Another benchmark, in a process of its own: it has the memory to itself."""
    subprocess.run([sys.executable, "-m", f"tests.speed.{name}", *options], check=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="where to write the measurements")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=ScheduleTask.precisions,
        default=list(ScheduleTask.precisions),
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="digits only, few images")
    parser.add_argument("--peak-tflops", type=float, help="of the device, in this precision")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {arguments.device}: this machine has no usable CUDA device")
    return arguments


if __name__ == "__main__":
    main()
