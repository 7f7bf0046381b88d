"""The cosine noise schedule as a differentiable function of a few parameters.

A schedule is a table of `alpha_bar`: `(T,)` float64, the share of signal variance left after
each of T steps, decreasing in (0, 1). Steps follow from a signal curve f on [0, 1] by
beta_t = 1 - f((t+1)/T) / f(t/T), clamped to [1e-8, 0.999], so that every point of a search
box gives a usable table, also where the curve passes zero before its end.

Nichol & Dhariwal, 2021 (arXiv 2102.09672), with the width, start and exponent of Chen, 2023 (arXiv
2301.10972), the family tuned in Xiao et al., ICML 2025 (arXiv 2502.08808).
"""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 1000
BETA_MIN, BETA_MAX = 1e-8, 0.999
_SIGNAL_MIN = 1e-12


def cosine(width: Tensor, start: Tensor, tau: Tensor, eps: Tensor) -> Tensor:
    """alpha_bar of f(u) = cos((u width + start + eps) / (1 + eps) · pi/2)^(2 tau).

    `width` = end - start of the published code, which shifts nothing by its `start`; here
    `start` does. width 1, start 0, tau 1, eps 0.008 is the schedule of Nichol & Dhariwal.
    """
    angle = (_grid(width) * width + start + eps) / (1 + eps) * (torch.pi / 2)
    signal = torch.cos(angle.clamp(max=torch.pi / 2)).clamp(min=_SIGNAL_MIN)
    return _from_log_signal(2 * tau * signal.log())


def betas(alpha_bar: Tensor) -> Tensor:
    """The betas `(T,)` behind a table: what diffusers takes as `trained_betas`."""
    previous = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    return 1 - alpha_bar / previous


def _grid(like: Tensor) -> Tensor:
    return torch.linspace(0, 1, STEPS + 1, dtype=torch.float64, device=like.device)


def _from_log_signal(log_signal: Tensor) -> Tensor:
    return _from_betas(-torch.expm1(log_signal.diff()))


def _from_betas(values: Tensor) -> Tensor:
    return torch.log1p(-values.clamp(BETA_MIN, BETA_MAX)).cumsum(0).exp()
