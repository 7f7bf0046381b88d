"""The published training, made again for benchmarks: its size, its tables and its steps."""

from __future__ import annotations

import pytest
import torch

from benchmarks.published_unet import PublishedDiffusion, PublishedTraining, PublishedUNet
from tasks.schedule.schedules import COSINE


@pytest.fixture
def training() -> PublishedTraining:
    with torch.random.fork_rng(devices=[]):
        images = torch.rand(32, 1, 8, 8)
        return PublishedTraining(images, torch.zeros(32), steps=20, seed=0, batch=8)


def test_network_has_the_published_number_of_weights() -> None:
    assert sum(p.numel() for p in PublishedUNet().parameters()) == 1_084_897


def test_default_schedule_is_ours() -> None:
    ours = COSINE.alpha_bar(torch.tensor(COSINE.space.to_unit(COSINE.space.default)))
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
