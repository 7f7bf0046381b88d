"""Noise schedules as differentiable functions of a few parameters.

A schedule is a table of `alpha_bar`: `(T,)` float64, the share of signal variance left after
each of T steps, decreasing in (0, 1). Steps follow from a signal curve f on [0, 1] by
beta_t = 1 - f((t+1)/T) / f(t/T), clamped to [1e-8, 0.999], so that every point of a search
box gives a usable table, also where the curve passes zero before its end.

cosine: Nichol & Dhariwal, 2021 (arXiv 2102.09672), with the width, start and exponent of Chen,
2023 (arXiv 2301.10972), the family tuned in Xiao et al., ICML 2025 (arXiv 2502.08808). sigmoid:
Jabri et al., 2022 (arXiv 2212.11972). linear: Ho et al., 2020 (arXiv 2006.11239).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.space import Space, Variable

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


def sigmoid(start: Tensor, end: Tensor, tau: Tensor) -> Tensor:
    """alpha_bar of f(u) = (S(end) - S(u (end - start) + start)) / (S(end) - S(start)),
    S(x) = 1 / (1 + exp(-x / tau))."""
    rise = torch.sigmoid((_grid(start) * (end - start) + start) / tau)
    first, last = torch.sigmoid(start / tau), torch.sigmoid(end / tau)
    signal = ((last - rise) / (last - first)).clamp(min=_SIGNAL_MIN)
    return _from_log_signal(signal.log())


def linear(beta_start: Tensor, beta_end: Tensor) -> Tensor:
    """alpha_bar of betas that rise linearly from `beta_start` to `beta_end`."""
    position = torch.linspace(0, 1, STEPS, dtype=torch.float64, device=beta_start.device)
    return _from_betas(beta_start + position * (beta_end - beta_start))


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


@dataclass(frozen=True)
class ScheduleFamily:
    """A family of schedules with the box it is searched in.

    `curve` takes one 0-d tensor per variable of `space`, in order.
    """

    space: Space
    curve: Callable[..., Tensor]

    def alpha_bar(self, position: Tensor) -> Tensor:
        """The table at `position` `(d,)` in the unit cube of `space`; differentiable."""
        position = position.double()
        values = []
        for x, variable in zip(position, self.space.variables, strict=True):
            span = variable.high / variable.low if variable.log else variable.high - variable.low
            scaled = variable.low * span**x if variable.log else variable.low + span * x
            values.append(scaled)
        return self.curve(*values)


COSINE = ScheduleFamily(
    Space(
        (
            Variable("width", 0.6, 1.0, default=1.0),
            Variable("start", 0.0, 0.2, default=0.0),
            Variable("tau", 0.3, 4.0, default=1.0, log=True),
            Variable("eps", 0.001, 0.1, default=0.008, log=True),
        )
    ),
    cosine,
)
PUBLISHED = ScheduleFamily(
    Space(
        (
            Variable("start", 0.0, 0.4, default=0.0),
            Variable("end", 0.8, 1.0, default=1.0),
            Variable("tau", 1.0, 4.0, default=1.0),
            Variable("eps", 0.005, 0.04, default=0.008),
        )
    ),
    lambda start, end, tau, eps: cosine(end - start, start / STEPS, tau, eps),
)
"""The box that the paper's Bayesian baseline searches, with its formula: `start` acts through
end - start, and shifts the start itself by a thousandth only."""
SIGMOID = ScheduleFamily(
    Space(
        (
            Variable("start", -5.0, 0.0, default=-3.0),
            Variable("end", 1.0, 5.0, default=3.0),
            Variable("tau", 0.3, 3.0, default=1.0, log=True),
        )
    ),
    sigmoid,
)
LINEAR = ScheduleFamily(
    Space(
        (
            Variable("beta_start", 1e-5, 1e-3, default=1e-4, log=True),
            Variable("beta_end", 5e-3, 5e-2, default=2e-2, log=True),
        )
    ),
    linear,
)
