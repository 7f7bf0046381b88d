"""Deterministic samplers of a few evaluations, as tables of coefficients.

Levels are log signal-to-noise ratios, lsnr = log(alpha_bar / (1 - alpha_bar)), `(steps,)`
float64, from the noisy end to the clean one; the last step goes to no noise at all. A denoiser
predicts the noise, `denoiser(x, level)` with `level` `(n,)`. All samplers here are linear
multistep methods. With the predicted clean image

    d = (x - spread eps) / signal,    signal² = alpha_bar, spread² = 1 - alpha_bar,

bounded to `[-clip, clip]` unless `clip` is None, a step is

    x <- a x + b eps + c d + e d',

d' being the d of the step before. `dpm` is DPM-Solver++(2M) in data prediction (Lu et al., 2022,
arXiv 2211.01095, algorithm 2), with first-order first and last steps; `ddim` is DDIM as usually
published (Song et al., 2021, arXiv 2010.02502, eq. 12 with sigma = 0), which keeps the predicted
noise where the bound has changed the clean image. Coefficients are computed in float64 and are
differentiable in the levels; images keep the dtype of the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.base import Meter

Denoiser = Callable[[Tensor, Tensor], Tensor]
Solver = Callable[[Tensor], Tensor]
"""Levels `(..., steps)` to coefficients `(..., steps, 7)`: level, signal, spread, a, b, c, e."""
STEPS = 10
CPU_BATCH = 250
"""Images a CPU denoises at once, so that their activations stay in its cache."""


def noise_level(lsnr: Tensor) -> Tensor:
    """The noise level that a denoiser is told, in [0, 1]: 2/pi · atan(noise / signal).

    It depends on the signal-to-noise ratio alone, so that one network serves any schedule.
    """
    return torch.atan((-lsnr / 2).exp()) * (2 / torch.pi)


def signal_and_spread(lsnr: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the clean image and of the noise: sqrt(alpha_bar), sqrt(1 - alpha_bar)."""
    return torch.sigmoid(lsnr).sqrt(), torch.sigmoid(-lsnr).sqrt()


def ddim(levels: Tensor) -> Tensor:
    """Coefficients of DDIM."""
    signal, spread = signal_and_spread(levels)
    zero = torch.zeros_like(levels)
    following_signal = F.pad(signal[..., 1:], (0, 1), value=1.0)
    following_spread = F.pad(spread[..., 1:], (0, 1))
    return torch.stack(
        [noise_level(levels), signal, spread, zero, following_spread, following_signal, zero], -1
    )


def dpm(levels: Tensor) -> Tensor:
    """Coefficients of DPM-Solver++(2M): with h = lambda_next - lambda, lambda = lsnr / 2,

    a = spread_next / spread,  c + e = signal_next (1 - exp(-h)),  e = -(c + e) h / (2 h_before).
    """
    signal, spread = signal_and_spread(levels)
    zero = torch.zeros_like(levels)
    stride = levels.diff() / 2
    keep = F.pad(spread[..., 1:] / spread[..., :-1], (0, 1))
    gain = F.pad(signal[..., 1:] * -torch.expm1(-stride), (0, 1), value=1.0)
    ratio = F.pad(stride[..., 1:] / stride[..., :-1], (1, 1))
    before = -gain * ratio / 2
    return torch.stack([noise_level(levels), signal, spread, keep, zero, gain - before, before], -1)


SOLVERS: dict[str, Solver] = {"DPM-Solver++(2M)": dpm, "DDIM": ddim}


def sample(
    denoiser: Denoiser,
    levels: Tensor,
    noise: Tensor,
    meter: Meter,
    clip: float | None = 1.0,
    solver: Solver = dpm,
) -> Tensor:
    """Images from initial `noise` `(n, ...)`; each step is charged as `denoise`.

    `levels` are `(steps,)`, or a set for each of as many equal parts of the batch, in order,
    `(groups, steps)`: the images, up to rounding, and the charges of separate calls.
    """
    together = CPU_BATCH if noise.device.type == "cpu" else len(noise)
    with torch.no_grad():
        steps = solver(levels).to(noise.dtype)
        if levels.ndim == 2:
            rows, left = divmod(len(noise), len(levels))
            if left:
                raise ValueError(f"{len(noise)} images are no equal parts for {len(levels)} sets")
            steps = steps.repeat_interleave(rows, dim=0)
        parts = [(x, torch.zeros_like(x)) for x in torch.split(noise, together)]
        for i in range(levels.shape[-1]):
            with meter.charge("denoise", count=len(noise), nfe=len(noise)):
                for j, state in enumerate(parts):
                    row = steps[..., i, :]
                    if levels.ndim == 2:
                        row = row[j * together : j * together + len(state[0])]
                    parts[j] = step(denoiser, *state, row, clip)
    return torch.cat([x for x, _ in parts])


def step(
    denoiser: Denoiser, x: Tensor, before: Tensor, row: Tensor, clip: float | None
) -> tuple[Tensor, Tensor]:
    """One step from `x` `(n, ...)`, `before` being the last predicted clean image: both anew.

    `row` holds the coefficients, `(7,)` or `(n, 7)`.
    """
    level, *factors = row.unbind(-1)
    if row.ndim == 2:
        factors = [value.view(-1, *[1] * (x.ndim - 1)) for value in factors]
    signal, spread, a, b, c, e = factors
    noise = denoiser(x, level.expand(len(x)))
    clean = (x - spread * noise) / signal
    if clip is not None:
        clean = clean.clamp(-clip, clip)
    return a * x + b * noise + c * clean + e * before, clean


def pathwise_backward(
    denoiser: Denoiser,
    levels: Tensor,
    noise: Tensor,
    objective: Callable[[Tensor], Tensor],
    meter: Meter,
    clip: float | None = 1.0,
    recompute: bool = False,
    solver: Solver = dpm,
) -> Tensor:
    """`objective(images)` of a sampled batch, after accumulating its gradient.

    Gradients reach the denoiser's parameters and whatever `levels` `(steps,)` was computed from.
    The backward pass goes step by step, so that every primitive is charged on its own: steps as
    `denoise_forward` and `denoise_backward`, the objective as `objective_backward`. With
    `recompute` the graph of one step at a time is kept, and each step is computed twice.
    """
    coefficients = solver(levels)
    rows = coefficients.detach().requires_grad_(coefficients.requires_grad)
    work = len(noise)
    tape: list[tuple[tuple[Tensor, Tensor], Callable[[], State], State]] = []
    state: State = noise, torch.zeros_like(noise)
    for i in range(len(levels)):
        x, before = (value.detach().requires_grad_(bool(tape)) for value in state)
        again = partial(_cast_step, denoiser, x, before, rows, i, clip)
        with (
            meter.charge("denoise_forward", count=work, nfe=work),
            torch.set_grad_enabled(not recompute),
        ):
            state = again()
        tape.append(((x, before), again, state))
    images = state[0].detach().requires_grad_()
    with meter.charge("objective_backward", count=work, scored_images=work):
        value = objective(images)
        torch.autograd.backward(value)
    gradients = [images.grad, None]
    for entering, redo, leaving in reversed(tape):
        with meter.charge("denoise_backward", count=work, nfe=work if recompute else 0):
            outputs = redo() if recompute else leaving
            due = [(out, g) for out, g in zip(outputs, gradients, strict=True) if g is not None]
            torch.autograd.backward([out for out, _ in due], [g for _, g in due])
        gradients = [value.grad for value in entering]
    if coefficients.requires_grad:
        torch.autograd.backward(coefficients, rows.grad, retain_graph=True)
    return value.detach()


State = tuple[Tensor, Tensor]


def _cast_step(
    denoiser: Denoiser, x: Tensor, before: Tensor, rows: Tensor, i: int, clip: float | None
) -> State:
    return step(denoiser, x, before, rows[i].to(x.dtype), clip)
