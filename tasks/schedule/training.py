"""The lower level: denoising score matching (Ho et al., 2020) at training levels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.diffusion.sampler import Denoiser, noise_level, signal_and_spread

BATCH = 64


class Batch(NamedTuple):
    """Clean images `(n, ...)`, places `(n,)` in the training levels, and the noise to add."""

    images: Tensor
    places: Tensor
    noise: Tensor


def draw(images: Tensor, levels: int, generator: torch.Generator, size: int = BATCH) -> Batch:
    """A random batch of `size` from `images`, uniform over so many training `levels`."""
    device = images.device
    chosen = torch.randint(len(images), (size,), generator=generator, device=device)
    places = torch.randint(levels, (size,), generator=generator, device=device)
    shape = (size, *images.shape[1:])
    noise = torch.randn(shape, generator=generator, device=device, dtype=images.dtype)
    return Batch(images[chosen], places, noise)


def add_noise(batch: Batch, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy images of `batch` and their noise levels `(n,)`; differentiable in `levels`."""
    chosen = levels[batch.places]
    shape = (-1, *[1] * (batch.images.ndim - 1))
    signal, spread = (x.to(batch.images.dtype).view(shape) for x in signal_and_spread(chosen))
    noisy = signal * batch.images + spread * batch.noise
    return noisy, noise_level(chosen).to(batch.images.dtype)


def denoising_loss(denoiser: Denoiser, levels: Tensor, batch: Batch) -> Tensor:
    """Mean squared error of the predicted noise, 0-d."""
    return F.mse_loss(denoiser(*add_noise(batch, levels)), batch.noise)


def losses_by_level(denoiser: Denoiser, levels: Tensor, batch: Batch) -> Tensor:
    """`denoising_loss` `(n,)` at each of `levels` `(n,)`, from the same images and noise, in one
    pass; the places of `batch` do not matter."""
    images, noise = (
        x.repeat(len(levels), *[1] * (x.ndim - 1)) for x in (batch.images, batch.noise)
    )
    places = torch.arange(len(levels), device=images.device).repeat_interleave(len(batch.images))
    predicted = denoiser(*add_noise(Batch(images, places, noise), levels))
    return (predicted - noise).square().reshape(len(levels), -1).mean(dim=1)
