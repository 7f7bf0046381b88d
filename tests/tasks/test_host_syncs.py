"""A training step and the sampling loops never make the host wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from host_syncs import host_syncs, sync_is_an_error

from tasks.finetune.digits import FinetuneDigits
from tasks.finetune.sampling import Sampler
from tasks.schedule.digits import ScheduleDigits
from tasks.schedule.gaussian import ScheduleGaussian
from tasks.schedule.network import UNet
from tasks.schedule.published_network import LevelUNet

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Convolutions(ScheduleDigits):
    """Digits under the U-Net."""

    def build(self) -> torch.nn.Module:
        return UNet(8)


class Published(ScheduleDigits):
    """Digits under the published network."""

    def build(self) -> torch.nn.Module:
        return LevelUNet(base=4)


NETWORKS = [ScheduleDigits, Convolutions, Published]


READS = [
    lambda x: x.sum().item(),
    lambda x: float(x[0]),
    lambda x: bool(x.any()),
    lambda x: x[x > 0],
    lambda x: x.nonzero(),
    lambda x: x.masked_fill_(x > 0, 0).tolist() and torch.tensor([1.0]),
    lambda x: torch.linalg.eigvalsh(x.outer(x)),
]
COPIES = [
    lambda x: x.cpu(),
    lambda x: x + torch.tensor([1.0] * 4, device=x.device),
    lambda x: torch.ones(4).to(x.device),
    lambda x: x.copy_(torch.ones(4)),
]


@pytest.mark.parametrize("read", READS)
def test_what_waits_is_found(read: Callable[[torch.Tensor], Any]) -> None:
    assert host_syncs(lambda: read(torch.randn(4)))


@needs_cuda
@pytest.mark.parametrize("read", [*READS, *COPIES])
def test_what_waits_is_an_error_on_cuda(read: Callable[[torch.Tensor], Any]) -> None:
    x = torch.randn(4, device="cuda")
    with sync_is_an_error(), pytest.raises(RuntimeError):
        read(x)


def test_what_does_not_wait_is_not() -> None:
    x, rows = torch.randn(4), torch.arange(3)
    assert host_syncs(lambda: torch.where(x > 0, x, 0)[rows].sum() + torch.full((), 2.0)) == []


def schedule_work(task: Any) -> dict[str, Callable[[], Any]]:
    """One training step and sampling, after a first one of each."""
    position = task.position(task.space.default)
    training, levels = task.begin(0), task.training_levels(position)
    sampling = task.sampling_levels(position)
    generator, sets = task.generator(1), torch.stack([sampling, sampling])
    work = {
        "train": lambda: task.train_step(training, levels, 0.5),
        "sample": lambda: task.sample(training.ema, sampling, task.noise(8, generator)),
        "sample each": lambda: task.sample_each(
            training.ema,
            sets,
            task.noise(8, generator).expand(2, 8, *task.train_images.shape[1:]),
        ),
    }
    for first in work.values():
        first()
    return work


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [*NETWORKS, ScheduleGaussian])
def test_schedules_never_wait(kind: type[ScheduleDigits], precision: str) -> None:
    task = kind()
    task.precision = precision
    task.setup()
    for name, work in schedule_work(task).items():
        assert host_syncs(work) == [], name


@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_schedules_never_wait_on_cuda(kind: type[ScheduleDigits], precision: str) -> None:
    task = kind("cuda")
    task.precision = precision
    task.setup()
    for work in schedule_work(task).values():
        with sync_is_an_error():
            work()


def guided(device: str) -> Callable[[], Any]:
    """Guided sampling of digits."""
    task = FinetuneDigits(device)
    task.setup()
    labels = torch.arange(8, device=device) % task.groups
    strength = torch.full((8,), 2.0, device=device)
    generator, sampler = task.generator(0), Sampler(4)
    return lambda: task.generate(
        labels, sampler, generator, lambda x: task.lower(x, labels) / strength
    )


def test_guided_sampling_never_waits() -> None:
    work = guided("cpu")
    work()
    assert host_syncs(work) == []


@needs_cuda
def test_guided_sampling_never_waits_on_cuda() -> None:
    work = guided("cuda")
    work()
    with sync_is_an_error():
        work()
