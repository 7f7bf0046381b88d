"""Shortcuts of the networks change nothing: one level for a batch, the layout of maps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from diffusers import EDMEulerScheduler
from torch import nn

from tasks.schedule.network import SIGMA_DATA, DenseNet, Preconditioned, UNet
from tasks.training import Training


@pytest.fixture(autouse=True)
def _keep_the_global_generator() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def wiggly(net: DenseNet | UNet) -> DenseNet | UNet:
    """`net` with a last layer that is not zero."""
    nn.init.normal_(net.leave.weight, std=0.2)
    return net


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: wiggly(DenseNet(8, 32, 2)), 8),
        (lambda: wiggly(UNet(8)), 14),
        (lambda: Preconditioned(wiggly(DenseNet(8, 32, 2))), 8),
    ],
)
def test_one_level_for_all_images_equals_as_many_levels(build, size: int) -> None:  # type: ignore[no-untyped-def]
    net = build().double()
    images = torch.randn(5, 1, size, size, dtype=torch.float64)
    gradients = []
    for spread in (lambda level: level.expand(5), lambda level: level.repeat(5)):
        level = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
        output = net(images, spread(level))
        net.zero_grad()
        output.square().sum().backward()
        gradients.append([output.detach(), level.grad, *(p.grad.clone() for p in net.parameters())])
    for one, many in zip(*gradients, strict=True):
        torch.testing.assert_close(one, many, rtol=1e-10, atol=1e-12)


def test_unet_returns_plain_layout() -> None:
    images = torch.randn(3, 1, 14, 14)
    output = wiggly(UNet(8))(images, torch.rand(3))
    assert output.shape == images.shape
    assert output.is_contiguous()


def test_average_follows_weights_that_were_loaded_in_place() -> None:
    training = Training.begin(wiggly(DenseNet(8, 32, 1)), torch.Generator())
    moved = {k: v + 1 for k, v in training.net.state_dict().items()}
    training.net.load_state_dict(moved)
    for weight in training.net.parameters():
        weight.grad = torch.zeros_like(weight)
    before = [p.clone() for p in training.ema.parameters()]
    training.update(0.0, decay=0.5)
    for old, new in zip(before, training.ema.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.5)
    assert all(p.grad is None for p in training.net.parameters())


def test_preconditioning_is_that_of_edm() -> None:
    """The clean image that follows from the noise is that of diffusers' scheduler."""
    ours = Preconditioned(wiggly(DenseNet(8, 32, 1)).double())
    theirs = EDMEulerScheduler(sigma_data=SIGMA_DATA)
    signal, spread = 0.6, 0.8
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    level = torch.full((4,), math.atan2(spread, signal) * 2 / math.pi, dtype=torch.float64)
    noisy, sigma = x / signal, spread / signal
    inner = ours.inner(theirs.precondition_inputs(noisy, sigma), level)
    expected = theirs.precondition_outputs(noisy, inner, torch.tensor(sigma, dtype=torch.float64))
    torch.testing.assert_close((x - spread * ours(x, level)) / signal, expected)
