"""The published training, made again for benchmarks: its size, its tables and its steps."""

from __future__ import annotations

import pytest
import torch

from tasks.schedule.plans import PUBLISHED
from tasks.schedule.published_network import LevelUNet, Normalisation, PublishedUNet
from tasks.schedule.training import denoising_loss, draw
from tasks.training import Training, learning
from tests.speed.published_unet import PublishedDiffusion, PublishedTraining


@pytest.fixture
def training() -> PublishedTraining:
    with torch.random.fork_rng(devices=[]):
        images = torch.rand(32, 1, 8, 8)
        return PublishedTraining(images, torch.zeros(32), steps=20, seed=0, batch=8)


def test_network_has_the_published_number_of_weights() -> None:
    assert sum(p.numel() for p in PublishedUNet().parameters()) == 1_084_897


def test_default_schedule_is_ours() -> None:
    position = torch.tensor(PUBLISHED.space.to_unit(PUBLISHED.space.default))
    ours = torch.sigmoid(PUBLISHED.training_levels(position))
    torch.testing.assert_close(
        PublishedDiffusion(torch.nn.Identity()).alpha_bar, ours.float(), atol=1e-5, rtol=1e-3
    )


def test_loop_trains_averages_and_prints(training: PublishedTraining) -> None:
    with torch.random.fork_rng(devices=[]):
        before = [p.clone() for p in training.model.parameters()]
        for _ in range(11):
            training.step()
        images = training.model.eval().sample(torch.randn(2, 1, 8, 8), count=4)
    assert any(
        not torch.equal(a, b) for a, b in zip(before, training.model.parameters(), strict=True)
    )
    assert training.printed.getvalue().count("loss") == 2
    assert int(training.ema.n_averaged) == 2
    assert images.shape == (2, 1, 8, 8)
    assert images.abs().max() <= 1


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def net() -> LevelUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LevelUNet(base=16).eval()


@torch.no_grad()
def test_levels_of_the_default_schedule_are_the_published_steps(
    net: LevelUNet, images: torch.Tensor
) -> None:
    steps = torch.arange(0, 1000, 33)[: len(images)]
    told = net.levels[steps]
    torch.testing.assert_close(
        net(images[: len(steps)], told),
        PublishedUNet.forward(net, images[: len(steps)], steps),
        atol=1e-5,
        rtol=1e-4,
    )


def test_one_level_for_all_images_equals_as_many(net: LevelUNet, images: torch.Tensor) -> None:
    level = torch.tensor(0.4321)
    torch.testing.assert_close(net(images, level.expand(32)), net(images, level.repeat(32)))


def test_the_gradient_reaches_the_schedule_through_the_level(
    net: LevelUNet, images: torch.Tensor
) -> None:
    net.double()
    level = torch.full((1,), 0.3003, dtype=torch.float64, requires_grad=True)
    value = net(images[:1].double(), level * 1.0).square().sum()
    (gradient,) = torch.autograd.grad(value, level)
    with torch.no_grad():
        above, below = (net(images[:1].double(), level + d).square().sum() for d in (1e-6, -1e-6))
    assert float(gradient) == pytest.approx(float((above - below) / 2e-6), rel=1e-4)


def test_statistics_are_averaged_and_training_resumes_bit_for_bit(images: torch.Tensor) -> None:
    table = PUBLISHED.training_levels(torch.tensor([0.0, 1.0, 0.0, 0.1], dtype=torch.float64))

    def fresh() -> Training:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return Training.begin(LevelUNet(base=4), torch.Generator().manual_seed(2))

    def go(training: Training, steps: int) -> None:
        for _ in range(steps):
            with learning(training.normalisations):
                batch = draw(images, 1000, training.generator, 8)
                denoising_loss(training.net, table, batch).backward()
            training.update(1e-3, 0.9)

    whole, begun, resumed = fresh(), fresh(), fresh()
    go(whole, 2)
    go(begun, 1)
    resumed.load_state_dict(begun.state_dict())
    go(resumed, 1)
    for a, b in ((whole.net, resumed.net), (whole.ema, resumed.ema)):
        for name, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[name]), name
    moved = [m.running_mean for m in whole.ema.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(mean.abs().max() > 0 for mean in moved)
    assert not any(m.training for m in (*whole.net.modules(), *whole.ema.modules()))
    current = [m.running_mean for m in whole.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert any(not torch.equal(a, b) for a, b in zip(moved, current, strict=True))


def test_normalisation_is_that_of_torch_but_for_its_count() -> None:
    ours, theirs = Normalisation(4), torch.nn.BatchNorm2d(4)
    for _ in range(2):
        maps = 3 * torch.randn(5, 4, 3, 3) + 1
        assert torch.equal(ours(maps), theirs(maps))
    ours.eval()
    theirs.eval()
    assert torch.equal(ours(maps), theirs(maps))
    assert torch.equal(ours.running_var, theirs.running_var)
    assert ours.num_batches_tracked == 0
