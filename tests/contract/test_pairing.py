"""For one run seed all methods train from the same weights on the same batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark import registry
from benchmark.runs.runner import execute
from benchmark.runs.spec import RunSpec
from tasks.schedule.gaussian import ScheduleGaussian

TASK = ScheduleGaussian.name
STEPS = 3


class Stopped(BaseException):
    pass


class Watched(ScheduleGaussian):
    """Keeps the weights and batches of the first training, and stops after a few steps."""

    starts: list[torch.Tensor]
    batches: list[torch.Tensor]
    others: list[torch.Generator]
    """Generators of further trainings, which a method may take in turns with the first."""

    def begin(self, seed):
        training = super().begin(seed)
        if self.meter_is_running():
            if type(self).starts:
                type(self).others.append(training.generator)
            type(self).starts.append(nn.utils.parameters_to_vector(training.net.parameters()))
        return training

    def meter_is_running(self) -> bool:
        return type(self.meter).__module__.startswith("benchmark.")

    def batch(self, generator):
        batch = super().batch(generator)
        if self.meter_is_running() and all(generator is not other for other in self.others):
            type(self).batches.append(batch.images.clone())
            if len(type(self).batches) == STEPS:
                raise Stopped
        return batch


def first_training(method: str, monkeypatch, folder: Path, seed: int = 0) -> torch.Tensor:
    Watched.starts, Watched.batches, Watched.others = [], [], []
    known = registry.all_tasks() | {TASK: Watched}
    monkeypatch.setattr(registry, "all_tasks", lambda: known)
    prices = dict.fromkeys(
        ("trial", "train_step", "denoise", "frechet", "loss", "loss_gradient", "update",
         "denoise_forward", "denoise_backward"), 1e-4,
    )  # fmt: skip
    spec = RunSpec("test", TASK, method, method, seed, 1 / 3600, str(folder),
                   clock="priced", prices=prices)  # fmt: skip
    with pytest.raises(Stopped):
        execute(spec)
    return torch.cat([Watched.starts[0].detach(), *(b.flatten() for b in Watched.batches)])


BUILDERS = [name for name, cls in registry.all_methods().items() if cls.supports(ScheduleGaussian)]


@pytest.mark.parametrize("method", BUILDERS)
def test_first_trainings_are_the_same(method, monkeypatch, tmp_path):
    expected = first_training("default", monkeypatch, tmp_path / "default")
    assert torch.equal(first_training(method, monkeypatch, tmp_path / "other"), expected)


def test_another_run_seed_is_another_training(monkeypatch, tmp_path):
    one, other = (first_training("default", monkeypatch, tmp_path / str(s), s) for s in (0, 1))
    assert not torch.equal(one, other)
