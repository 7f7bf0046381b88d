"""The lower level: denoising score matching (Ho et al., 2020) of one network at training levels.

A `Training` is everything that a training run carries from step to step; what it sees next
is a function of that alone, so a run restored from `state_dict` goes on bit for bit on CPU.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.diffusion.sampler import Denoiser, noise_level, signal_and_spread

BATCH = 64
WARM_UP = 50
DECAY_FROM = 0.6
EMA = 0.99


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


def learning_rate(peak: float, step: int, fraction: float) -> float:
    """Rate at `step`, `fraction` of the horizon being over: linear warm-up to `peak`, constant,
    and linear decay to zero from `DECAY_FROM` on."""
    warm = min((step + 1) / WARM_UP, 1.0)
    return peak * warm * min((1 - fraction) / (1 - DECAY_FROM), 1.0)


def normalisations(net: nn.Module) -> list[nn.BatchNorm2d]:
    """The layers of `net` that behave otherwise in training: empty for most networks here."""
    return [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]


@contextmanager
def learning(layers: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """Let batch normalisation use, and remember, the batches seen inside."""
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer in layers:
            layer.eval()


def statistics(layers: Sequence[nn.BatchNorm2d]) -> list[Tensor]:
    """Running statistics of batch normalisation."""
    return [kept for m in layers for kept in (m.running_mean, m.running_var) if kept is not None]


@dataclass
class Training:
    """A network in training, the moving average of its weights, and its randomness.

    Statistics of batch normalisation are averaged like weights. Both networks are in evaluation
    mode, except inside `learning`.
    """

    net: nn.Module
    ema: nn.Module
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    step: int = 0

    def __post_init__(self) -> None:
        self._weights: list[Tensor] = list(self.net.parameters())
        self.normalisations = normalisations(self.net)
        """Kept, because to look for them takes 2 % of a step on small networks."""
        self._statistics = statistics(self.normalisations)
        self._average: list[Tensor] = list(self.ema.parameters())
        self._average_statistics = statistics(normalisations(self.ema))
        self.net.eval()
        self.ema.eval()

    @classmethod
    def begin(cls, net: nn.Module, generator: torch.Generator) -> Training:
        """Training of `net` from its present weights."""
        ema = copy.deepcopy(net).requires_grad_(False)
        optimiser = torch.optim.AdamW(net.parameters(), fused=True)
        return cls(net, ema, optimiser, generator)

    @torch.no_grad()
    def update(self, rate: float, decay: float = EMA) -> None:
        """Step along the gradients at a learning rate and forget them; the moving average
        keeps a share `decay` of itself."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        for weight in self._weights:
            weight.grad = None
        torch._foreach_lerp_(self._average, self._weights, 1 - decay)
        if self._statistics:
            torch._foreach_lerp_(self._average_statistics, self._statistics, 1 - decay)
        self.step += 1

    def restart(self, betas: tuple[float, float]) -> None:
        """Forget what the optimiser remembers of gradients, and average them by `betas` now."""
        self.optimiser.state.clear()
        for group in self.optimiser.param_groups:
            group["betas"] = betas

    def state_dict(self) -> dict[str, Any]:
        """A copy of the whole state: nested dicts of tensors and numbers."""
        return copy.deepcopy(
            {
                "net": self.net.state_dict(),
                "ema": self.ema.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "generator": self.generator.get_state(),
                "step": self.step,
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, leaving `state` untouched."""
        state = copy.deepcopy(state)
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.step = state["step"]
