"""Deterministic DDIM sampling (Song et al., 2021, arXiv 2010.02502, eq. 12 with sigma = 0).

The schedule is a table `alpha_bar` `(T,)`; a denoiser predicts the noise, `denoiser(x, level)`
with `level` `(n,)`. Steps visit `linspace(0, T - 1, steps)` from the noisy end, and the last
one goes to alpha_bar = 1. The predicted clean image is clipped to `[-clip, clip]`: the usual
schedules end at alpha_bar of 1e-9, where the first step would divide by its square root.
Coefficients are float64, images keep the dtype of the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.base import Meter

Denoiser = Callable[[Tensor, Tensor], Tensor]
STEPS = 10
CPU_BATCH = 250
"""Images a CPU denoises at once, so that their activations stay in its cache."""


def timesteps(length: int, steps: int = STEPS) -> list[int]:
    """The `steps` visited entries of a table of `length`, from the noisy end to 0."""
    return torch.linspace(0, length - 1, steps).round().long().flip(0).tolist()


def noise_level(alpha_bar: Tensor) -> Tensor:
    """What a denoiser is told about the noise, in [0, 1]: 2/pi · atan(noise / signal).

    A function of alpha_bar alone, so that one network serves any schedule.
    """
    return torch.atan2((1 - alpha_bar).sqrt(), alpha_bar.sqrt()) * (2 / torch.pi)


def transitions(alpha_bar: Tensor, steps: int = STEPS) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (alpha_bar now, alpha_bar next), 0-d, of each step."""
    visited = [alpha_bar[t] for t in timesteps(len(alpha_bar), steps)]
    visited.append(torch.ones_like(visited[0]))
    return pairwise(visited)


class Coefficients(NamedTuple):
    """What one step needs, or one entry per step of each."""

    level: Tensor
    signal: Tensor
    spread: Tensor
    following_signal: Tensor
    following_spread: Tensor

    def of(self, first: int, x: Tensor) -> Coefficients:
        """Those of the rows `x` `(n, ...)` that begin with number `first` of the batch, where
        every row has its own."""
        if self.level.ndim == 0:
            return self
        level, *others = (value[first : first + len(x)] for value in self)
        return Coefficients(level, *(value.view(-1, *[1] * (x.ndim - 1)) for value in others))


def coefficients(now: Tensor, following: Tensor, dtype: torch.dtype) -> Coefficients:
    """Of the steps from alpha_bar `now` to `following`, computed in their own precision."""
    exact = (
        noise_level(now),
        now.sqrt(),
        (1 - now).sqrt(),
        following.sqrt(),
        (1 - following).sqrt(),
    )
    return Coefficients(*(value.to(dtype) for value in exact))


def ddim_step(
    denoiser: Denoiser, x: Tensor, now: Tensor, following: Tensor, clip: float | None = 1.0
) -> Tensor:
    """One step from noise share 1 - `now` to 1 - `following`; differentiable in all of them."""
    return _step(denoiser, x, coefficients(now, following, x.dtype), clip)


def _step(denoiser: Denoiser, x: Tensor, step: Coefficients, clip: float | None) -> Tensor:
    noise = denoiser(x, step.level.expand(len(x)))
    clean = (x - step.spread * noise) / step.signal
    if clip is not None:
        clean = clean.clamp(-clip, clip)
    return step.following_signal * clean + step.following_spread * noise


@torch.no_grad()
def sample(
    denoiser: Denoiser, alpha_bar: Tensor, noise: Tensor, meter: Meter, clip: float | None = 1.0
) -> Tensor:
    """Images from initial `noise` `(n, ...)`; each step is charged as `denoise`.

    `alpha_bar` is one table `(T,)`, or one for each of as many equal parts of the batch, in
    order, `(groups, T)`: the images, up to rounding, and the charges of separate calls.
    """
    x = noise
    together = CPU_BATCH if x.device.type == "cpu" else len(x)
    pairs = transitions(alpha_bar.movedim(-1, 0))
    now, following = (torch.stack(side) for side in zip(*pairs, strict=True))
    steps = coefficients(now, following, x.dtype)
    if alpha_bar.ndim == 2:
        rows, left = divmod(len(x), len(alpha_bar))
        if left:
            raise ValueError(f"{len(x)} images are no equal parts for {len(alpha_bar)} tables")
        steps = Coefficients(*(value.repeat_interleave(rows, dim=1) for value in steps))
    for values in zip(*steps, strict=True):
        step = Coefficients(*values)
        with meter.charge("denoise", count=len(x), nfe=len(x)):
            parts = enumerate(torch.split(x, together))
            x = torch.cat(
                [_step(denoiser, part, step.of(i * together, part), clip) for i, part in parts]
            )
    return x


def pathwise_backward(
    denoiser: Denoiser,
    alpha_bar: Tensor,
    noise: Tensor,
    objective: Callable[[Tensor], Tensor],
    meter: Meter,
    clip: float | None = 1.0,
    recompute: bool = False,
) -> Tensor:
    """`objective(images)` of a sampled batch, with its gradient accumulated where due.

    Gradients reach the denoiser's parameters and whatever `alpha_bar` was computed from. The
    backward pass goes step by step, so that every primitive is charged on its own: steps
    as `denoise_forward` and `denoise_backward`, the objective as `objective_backward`. With
    `recompute` the graph of one step at a time is kept, and each step is taken twice.
    """
    table = alpha_bar.detach().requires_grad_(alpha_bar.requires_grad)
    work = len(noise)
    tape: list[tuple[Tensor, Callable[[], Tensor], Tensor]] = []
    x = noise
    for now, following in transitions(table):
        entering = x.detach().requires_grad_(bool(tape))
        again = partial(ddim_step, denoiser, entering, now, following, clip)
        with (
            meter.charge("denoise_forward", count=work, nfe=work),
            torch.set_grad_enabled(not recompute),
        ):
            x = again()
        tape.append((entering, again, x))
    images = x.detach().requires_grad_()
    with meter.charge("objective_backward", count=work, scored_images=work):
        value = objective(images)
        torch.autograd.backward(value)
    gradient = images.grad
    for entering, redo, leaving in reversed(tape):
        with meter.charge("denoise_backward", count=work, nfe=work if recompute else 0):
            torch.autograd.backward(redo() if recompute else leaving, gradient)
        gradient = entering.grad
    if alpha_bar.requires_grad:
        torch.autograd.backward(alpha_bar, table.grad, retain_graph=True)
    return value.detach()
