"""The forward process against diffusers; sampling of tasks in groups, in turns and in 16 bits."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from test_sampler import Counting, noise, wiggly_net

from tasks.schedule.digits import ScheduleDigits
from tasks.schedule.network import UNet
from tasks.schedule.plans import PUBLISHED
from tasks.schedule.schedules import betas
from tasks.schedule.training import Batch, add_noise


def test_forward_noising_equals_diffusers() -> None:
    position = torch.tensor(PUBLISHED.space.to_unit(PUBLISHED.space.default | {"tau": 1.5}))
    levels, generator = PUBLISHED.training_levels(position), torch.Generator().manual_seed(0)
    batch = Batch(
        torch.randn(32, 1, 8, 8, generator=generator),
        torch.randint(1000, (32,), generator=generator),
        torch.randn(32, 1, 8, 8, generator=generator),
    )
    scheduler = DDPMScheduler(1000, trained_betas=betas(torch.sigmoid(levels)).tolist())
    expected = scheduler.add_noise(batch.images, batch.noise, batch.places)
    noisy, level = add_noise(batch, levels)
    torch.testing.assert_close(noisy, expected, atol=2e-6, rtol=1e-5)
    assert level.shape == (32,)
    assert level.dtype == noisy.dtype


@pytest.mark.parametrize("size", [14, 28])
def test_unet_keeps_the_shape(size: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images, level = torch.randn(3, 1, size, size), torch.rand(3)
        net = UNet(8)
        assert torch.equal(net(images, level), torch.zeros_like(images))
        torch.nn.init.normal_(net.leave.weight)
    assert net(images, level).shape == images.shape
    assert not torch.allclose(net(images, level), net(images, 1 - level))


@pytest.fixture(scope="module")
def digits() -> ScheduleDigits:
    task = ScheduleDigits()
    task.setup()
    return task


@pytest.mark.parametrize("together", [3, 2, 1])
def test_groups_that_do_not_fit_take_turns(
    digits: ScheduleDigits, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = Counting()
    monkeypatch.setattr(digits, "meter", meter)
    monkeypatch.setattr(digits, "_together", lambda count: together)  # as a GPU of that memory
    space = digits.space
    levels = torch.stack(
        [
            digits.sampling_levels(digits.position(space.default | {"rho": rho}))
            for rho in (7.0, 3.0, 12.0)
        ]
    )
    net, start = wiggly_net().float(), noise(21).float().view(3, 7, 1, 8, 8)
    images = digits.sample_each(net, levels, start)
    expected = [digits.sample(net, one, part) for one, part in zip(levels, start, strict=True)]
    torch.testing.assert_close(images, torch.stack(expected), atol=1e-4, rtol=1e-4)
    assert meter.counts == {"denoise": 2 * 3 * 7 * 10}


def test_bfloat16_changes_what_networks_compute_in_and_nothing_else() -> None:
    full, low = ScheduleDigits(), ScheduleDigits()
    low.precision = "bfloat16"
    trained = []
    for task in (full, low):
        task.setup()
        position = task.position(task.space.default)
        training, levels = task.begin(0), task.training_levels(position)
        for _ in range(60):
            task.train_step(training, levels, 0.1)
        assert {p.dtype for p in training.net.parameters()} == {torch.float32}
        trained.append(training.ema)
    assert not torch.equal(*(net.inner.enter.weight for net in trained))
    torch.testing.assert_close(*(net.inner.enter.weight for net in trained), atol=0.02, rtol=0)
    start = full.noise(8, full.generator(0))
    sampled = full.sampling_levels(position)
    exact, rounded = (task.sample(trained[0], sampled, start) for task in (full, low))
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    candidate = full.candidate(trained[0], full.space.default)
    assert full.score(candidate, 0) != low.score(candidate, 0)
    assert full.evaluate(candidate, 0) == low.evaluate(candidate, 0)
