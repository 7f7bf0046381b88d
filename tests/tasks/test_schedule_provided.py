"""Schedule tasks on the user's files, here tiny ones: one code path with the other tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_files import write_cifar, write_mnist
from torch import Tensor

from benchmark import contract
from tasks.assets import inception, networks
from tasks.data import datasets, user_data
from tasks.make import pretrain
from tasks.metrics import features, training
from tasks.schedule import provided
from tasks.schedule.digits import (
    ScheduleDigits,
    ScheduleDigitsPublished,
    ScheduleDigitsUnclipped,
)
from tasks.schedule.images import ImageScheduleTask
from tasks.schedule.network import UNet
from tasks.schedule.provided import (
    ProvidedScheduleTask,
    ScheduleCifar10,
    ScheduleMnist60k,
    ScheduleMnist60kPublished,
)
from tasks.schedule.published_network import LevelUNet


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(user_data.VARIABLE, str(tmp_path))
    monkeypatch.delenv(inception.VARIABLE, raising=False)
    monkeypatch.setattr(networks, "MADE_HERE", tmp_path / "weights")
    caches = (datasets.load, features.feature_net, networks.fingerprint)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few samples, in turns; few steps of the feature networks."""
    for cls in (ScheduleMnist60k, ScheduleCifar10):
        monkeypatch.setattr(cls, "selection_samples", 50)
        monkeypatch.setattr(cls, "report_samples", 70)
        monkeypatch.setattr(cls, "largest_batch", 40)
    monkeypatch.setattr(training, "STEPS", 3)


class FewFeatures:
    """Stands for the Inception network: sees colour images, gives features."""

    def __init__(self, file: Path, device: str) -> None:
        assert file.name == "weights.pt"

    def __call__(self, images: Tensor) -> Tensor:
        assert images.shape[1] == 3
        return images.flatten(1)[:, ::97]

    def logits(self, features: Tensor) -> Tensor:
        return features[:, :5]


OWN = [metric.name for metric in ImageScheduleTask.metrics]


def test_mnist60k_runs_with_the_features_of_mnist28(root: Path, small: None) -> None:
    assert "train-images" in str(ScheduleMnist60k.unavailable())
    write_mnist(root)
    assert ScheduleMnist60k.unavailable() is None
    task = ScheduleMnist60k()
    task.setup()
    (candidate,) = task.iterate(task.space.default, (2 / task.trial_steps,), seed=0)
    assert np.isfinite(task.score(candidate, 0))
    assert set(task.evaluate(candidate, 0)) == set(OWN)
    images = task.images(candidate, 8, 0)
    assert images is not None
    assert images.shape == (8, 28, 28)
    seen = {"features-mnist28-first"}
    assert set(task.evaluator()["features"]) == seen | {"other", "mlp", "pixels", "random"}
    assert "not measured" in task.evaluator()["inception"]


def test_cifar10_asks_for_feature_networks_made_once(root: Path, small: None) -> None:
    write_cifar(root)
    reason = str(ScheduleCifar10.unavailable())
    command = "python -m tasks.make.pretrain features-cifar10-first"
    assert command in reason
    assert pretrain.main(command.split()[3:]) == 0
    assert ScheduleCifar10.unavailable() is None
    assert len(list((root / "weights").iterdir())) == 1

    task = ScheduleCifar10()
    task.setup()
    (candidate,) = task.iterate(task.space.default, (1 / task.trial_steps,), seed=0)
    assert np.isfinite(list(task.evaluate(candidate, 0).values())).all()
    moving = torch.full((len(task.space),), 0.5, dtype=torch.float64).requires_grad_()
    levels = task.sampling_levels(moving)
    value = task.frechet_gradient(task.begin(0).net, levels, task.noise(8, task.generator(0)))
    assert torch.isfinite(value)
    images = task.images(candidate, 8, 0)
    assert images is not None
    assert images.shape == (8, 32, 32, 3)


def test_the_published_network_trains_and_samples_as_the_others(
    root: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(root)
    cls = ScheduleMnist60kPublished
    monkeypatch.setattr(cls, "build", lambda self: LevelUNet(base=8))
    monkeypatch.setattr(cls, "batch_size", 8)
    task = cls()
    task.setup()
    (candidate,) = task.iterate(task.space.default, (1 / task.trial_steps,), seed=0)
    once, again = task.score(candidate, 0), task.score(candidate, 0)
    assert np.isfinite(once)
    assert once == again  # sampling does not move the statistics of batch normalisation
    assert np.isfinite(list(task.evaluate(candidate, 0).values())).all()
    position = torch.full((4,), 0.5, dtype=torch.float64).requires_grad_()
    training = task.begin(0)
    before = {name: kept.clone() for name, kept in training.net.named_buffers()}
    noise = task.noise(4, task.generator(0))
    task.frechet_gradient(training.net, task.sampling_levels(position), noise)
    assert position.grad is not None
    assert torch.isfinite(position.grad).all()
    assert all(torch.equal(kept, before[name]) for name, kept in training.net.named_buffers())


@pytest.mark.parametrize(
    ("cls", "build"),
    [
        (ScheduleMnist60k, lambda self: UNet(8)),
        (ScheduleMnist60kPublished, lambda self: LevelUNet(base=8)),
        (ScheduleCifar10, lambda self: UNet(8, image_channels=3)),
    ],
)
def test_they_keep_the_contract(
    root: Path,
    small: None,
    monkeypatch: pytest.MonkeyPatch,
    cls: type[ProvidedScheduleTask],
    build: Callable[[ProvidedScheduleTask], torch.nn.Module],
) -> None:
    write_mnist(root)
    write_cifar(root)
    if cls is ScheduleCifar10:
        pretrain.main(["features-cifar10-first"])
    monkeypatch.setattr(cls, "build", build)
    monkeypatch.setattr(cls, "trial_steps", 100)
    broken = [f"{title}: {problem}" for title, problem in contract.check(cls.name) if problem]
    assert not broken, "\n".join(broken)


def test_inception_fid_is_reported_where_its_weights_are(
    root: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(root)
    file = root / "weights.pt"
    monkeypatch.setenv(inception.VARIABLE, str(file))
    assert "weights.pt: no such file" in str(ScheduleMnist60k.unavailable())
    file.touch()
    assert ScheduleMnist60k.unavailable() is None
    monkeypatch.setattr(provided, "InceptionFeatures", FewFeatures)
    task = ScheduleMnist60k()
    task.setup()
    assert [metric.name for metric in task.metrics] == [*OWN, "fid_inception", "inception_score"]
    assert [metric.name for metric in ScheduleMnist60k.metrics] == OWN
    (candidate,) = task.iterate(task.space.default, (1 / task.trial_steps,), seed=0)
    assert set(task.evaluate(candidate, 0)) == {metric.name for metric in task.metrics}


def test_turns_do_not_change_what_is_sampled_or_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    task = ScheduleDigits()
    task.setup()
    (candidate,) = task.iterate(task.space.default, (0.05,), seed=0)
    whole = task.score(candidate, 0)
    monkeypatch.setattr(ScheduleDigits, "largest_batch", 300)
    assert task.score(candidate, 0) == pytest.approx(whole, rel=1e-4)


def test_without_clipping_the_default_schedule_is_singular() -> None:
    """Trained alike, it scores far worse there, and alike where the schedule ends early."""
    clipped, unclipped = ScheduleDigitsPublished(), ScheduleDigitsUnclipped()
    scores = {}
    for task in (clipped, unclipped):
        task.setup()
        early = task.space.default | {"end": 0.85}
        for name, params in (("default", task.space.default), ("early", early)):
            (candidate,) = task.iterate(params, (1.0,), seed=0)
            scores[task.name, name] = task.score(candidate, 0)
    gap = {
        name: scores[unclipped.name, name] / scores[clipped.name, name]
        for name in ("default", "early")
    }
    assert gap["default"] > 3
    assert gap["early"] < 2
