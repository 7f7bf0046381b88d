"""A small latent diffusion model in the shape of Stable Diffusion.

A variational autoencoder maps images to a unit-variance latent; a class-conditional network
predicts noise in it. Dense layers throughout: at these sizes they are several times faster
on a CPU than convolutions of the same quality.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.base import Meter
from tasks.finetune.sampling import LogTilt, Sampler, Samples

CLASSES = 10
GUIDANCE_SCALE = 1.5
"""Classifier-free guidance (arXiv 2207.12598) towards the class asked for."""


class Autoencoder(nn.Module):
    """Images `(n, 1, size, size)` in [-1, 1] to latents `(n, latent)` and back."""

    def __init__(self, size: int, latent: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(size * size, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, width),
            nn.SiLU(),
            nn.Linear(width, size * size),
            nn.Tanh(),
        )
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("scale", torch.ones(latent))

    mean: Tensor
    scale: Tensor

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance `(n, latent)` of the approximate posterior, unscaled."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 4)

    def encode(self, images: Tensor) -> Tensor:
        """Posterior means, scaled to zero mean and unit variance over the training data."""
        return (self.posterior(images)[0] - self.mean) / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Images of scaled latents."""
        pixels: Tensor = self.decoder(latents * self.scale + self.mean)
        return pixels.view(-1, 1, self.size, self.size)


class Block(nn.Module):
    """Residual dense block, modulated feature by feature (FiLM, arXiv 1709.07871)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(condition, 2 * width)
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, condition: Tensor, rows: Tensor | None) -> Tensor:
        film = self.film(condition)
        scale, shift = (film if rows is None else film[rows]).chunk(2, dim=1)
        modulated = torch.addcmul(shift, self.norm(x), 1 + scale)
        update: Tensor = self.out(F.silu(self.dense(modulated)))
        return x + update


class NoisePredictor(nn.Module):
    """Class-conditional noise prediction in the latent; label 10 means no class."""

    NULL = CLASSES

    def __init__(self, latent: int, width: int, depth: int, condition: int = 64) -> None:
        super().__init__()
        self.frequencies = condition // 2
        self.time = nn.Sequential(nn.Linear(condition, condition), nn.SiLU())
        self.label = nn.Embedding(CLASSES + 1, condition)
        self.inlet = nn.Linear(latent, width)
        self.blocks = nn.ModuleList(Block(width, condition) for _ in range(depth))
        self.outlet = nn.Linear(width, latent)

    def forward(self, x: Tensor, times: Tensor | int, labels: Tensor) -> Tensor:
        """Noise in `x` `(n, latent)` at `times` (`(n,)`, or one for all) given `labels` `(n,)`.

        With one time for all, the conditioning is computed once per class, not per sample.
        """
        rows = None
        if isinstance(times, int):
            rows = labels
            labels = torch.arange(CLASSES + 1, device=x.device)
            times = torch.full_like(labels, times)
        condition = F.silu(self.time(self._embed(times)) + self.label(labels))
        x = self.inlet(x)
        for block in self.blocks:
            x = block(x, condition, rows)
        noise: Tensor = self.outlet(F.silu(x))
        return noise

    def guided(self, x: Tensor, time: int, labels: Tensor, scale: float) -> Tensor:
        """Noise in `x` by classifier-free guidance: null + scale · (class - null)."""
        rows = torch.cat([labels, torch.full_like(labels, self.NULL)])
        conditional, null = self(torch.cat([x, x]), time, rows).chunk(2)
        return torch.lerp(null, conditional, scale)

    def _embed(self, times: Tensor) -> Tensor:
        exponents = torch.arange(self.frequencies, device=times.device) / self.frequencies
        angles = times[:, None] * torch.exp(-math.log(10_000) * exponents)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class LatentDiffusion(nn.Module):
    """Autoencoder and noise predictor: what is pre-trained, and then tilted by a reward."""

    def __init__(self, size: int, latent: int, width: int, depth: int) -> None:
        super().__init__()
        self.latent = latent
        self.autoencoder = Autoencoder(size, latent, width)
        self.denoiser = NoisePredictor(latent, width, depth)

    @torch.no_grad()
    def sample(
        self,
        labels: Tensor,
        sampler: Sampler,
        generator: torch.Generator,
        log_tilt: LogTilt | None = None,
        meter: Meter | None = None,
    ) -> Samples:
        """Images `(n, 1, size, size)` in [-1, 1] asked to show `labels` `(n,)`.

        `log_tilt` maps images to the log of the density ratio `(n,)` they are tilted by.
        """
        rows = torch.empty(len(labels), self.latent, device=labels.device)
        latents, path_kl = sampler.sample(
            lambda x, time: self.denoiser.guided(x, time, labels, GUIDANCE_SCALE),
            sampler.noise(rows, generator),
            generator,
            log_tilt and (lambda clean: log_tilt(self.autoencoder.decode(clean))),
            meter,
        )
        return Samples(self.autoencoder.decode(latents), path_kl)


_SHAPES = {
    "digits": {"size": 8, "latent": 12, "width": 96, "depth": 3},
    "mnist14": {"size": 14, "latent": 16, "width": 128, "depth": 3},
    "fashion14": {"size": 14, "latent": 16, "width": 64, "depth": 3},
}


def untrained(dataset: str) -> LatentDiffusion:
    """The architecture for `dataset`, with weights from the global generator."""
    return LatentDiffusion(**_SHAPES[dataset])
