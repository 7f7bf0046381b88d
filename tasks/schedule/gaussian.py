"""A Gaussian in three scales under a denoiser too small for it: everything in closed form.

Data are N(0, diag(s²)), s = (2, 0.6, 0.15), and the denoiser is linear in x with coefficients
linear in cos(pi · level), one pair per coordinate. It cannot be right at every noise level, so
what it learns depends on the schedule it is trained under, and ten DDIM steps add an error
of their own. The coupling is mild: at most settings the gradient of FID at fixed weights already
points where the true hypergradient does.

Everything is float64: without clipping, sampling divides by the signal at the noisy end, which the
box lets fall to 1e-12, and single precision would leave nothing of it but rounding.

The lower level's solution is a least-squares problem, and sampling multiplies each coordinate
by a number, so F(q) = FID(theta*(q), q) is exact (`truth`). Its minimum over the box is 0.01176
at width 0.833, tau 1.479, in the interior; the default (width 1, tau 1) has 0.0710.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.base import Candidate
from tasks.diffusion.ddim import ddim_step, noise_level, sample, transitions
from tasks.diffusion.precision import FULL
from tasks.metrics.frechet import FrechetReference
from tasks.schedule.base import ScheduleTask
from tasks.schedule.schedules import ScheduleFamily, cosine
from tasks.space import Space, Variable

SCALES = (2.0, 0.6, 0.15)
_SAMPLES = 10_000


def _two_parameter_cosine(width: Tensor, tau: Tensor) -> Tensor:
    return cosine(width, torch.zeros_like(width), tau, torch.full_like(width, 0.008))


FAMILY = ScheduleFamily(
    Space(
        (
            Variable("width", 0.6, 1.0, default=1.0),
            Variable("tau", 0.3, 4.0, default=1.0, log=True),
        )
    ),
    _two_parameter_cosine,
)


class LinearDenoiser(nn.Module):
    """Predicts noise as a multiple of x that depends on the noise level (`noise_factor`)."""

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.zeros(len(SCALES), 2, dtype=torch.float64))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """`x` `(n, 1, 1, 3)`, `level` `(n,)` in [0, 1]."""
        return noise_factor(self.coefficients, level)[:, None, None] * x


def noise_factor(coefficients: Tensor, level: Tensor) -> Tensor:
    """`(n, 3)`: sin(a) + cos(a) (c0 + c1 cos(2a)) at a = level · pi/2.

    That is v-prediction (Salimans & Ho, 2022, arXiv 2202.00512): exact at pure noise, where
    the error of a bare noise prediction would be divided by zero.
    """
    angle = level * (torch.pi / 2)
    return angle.sin()[:, None] + angle.cos()[:, None] * (
        basis(level) @ coefficients.T.to(level.dtype)
    )


def basis(level: Tensor) -> Tensor:
    """`(..., 2)`: 1 and cos(pi · level)."""
    return torch.stack([torch.ones_like(level), torch.cos(torch.pi * level)], dim=-1)


def lower_solution(alpha_bar: Tensor) -> Tensor:
    """Coefficients `(3, 2)` that minimise the expected loss under a schedule; float64."""
    spread = (1 - alpha_bar).sqrt()
    regressors = basis(noise_level(alpha_bar)) * alpha_bar.sqrt()[:, None]
    rows = []
    for scale in SCALES:
        variance = alpha_bar * scale**2 + 1 - alpha_bar
        normal = (regressors.T * variance) @ regressors
        rows.append(torch.linalg.solve(normal, regressors.T @ (spread * (1 - variance))))
    return torch.stack(rows)


class ScheduleGaussian(ScheduleTask):
    """Fractions of a millisecond per step; reported metrics are exact, not sampled."""

    name = "schedule/gaussian"
    description = "Noise schedule of a linear denoiser of a three-scale Gaussian (closed form)"
    schedule = FAMILY
    space = FAMILY.space
    trial_steps = 500
    rate = 5e-2
    clip = None
    precisions = (FULL,)
    budget = 2 / 3600

    def build(self) -> LinearDenoiser:
        return LinearDenoiser()

    def setup(self) -> None:
        self.scales = torch.tensor(SCALES, dtype=torch.float64, device=self.device)
        shape = (_SAMPLES, 1, 1, len(SCALES))
        standard = torch.randn(
            shape, generator=self.generator(0), device=self.device, dtype=torch.float64
        )
        self.train_images = self.report_images = standard * self.scales
        self.features = (lambda x: x.flatten(1), lambda x: x.flatten(1) / self.scales)
        identity = torch.eye(len(SCALES), dtype=torch.float64, device=self.device)
        centre = torch.zeros_like(identity[0])
        exact = FrechetReference.from_statistics(centre, identity * self.scales**2)
        self.selection_reference = exact
        self.report_references = (exact, FrechetReference.from_statistics(centre, identity))

    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        net = self._net(candidate)
        assert isinstance(net, LinearDenoiser)
        spreads = self.spreads(net, self.table(candidate.state["sampling"]))
        return {
            "fid": float((spreads - self.scales).square().sum()),
            "fid2": float((spreads / self.scales - 1).square().sum()),
            "loss": float(self.expected_loss(net, self.table(candidate.params))),
        }

    def spreads(self, net: nn.Module, table: Tensor) -> Tensor:
        """Standard deviations `(3,)` of what `net` generates: sampling is linear."""
        ones = torch.ones_like(self.train_images[:1])
        return sample(net, table, ones, self.meter, self.clip).flatten().abs()

    def expected_loss(self, net: LinearDenoiser, table: Tensor) -> Tensor:
        """Lower-level loss of `net`, 0-d, in expectation over data, steps and noise."""
        with torch.no_grad():
            factor = noise_factor(net.coefficients, noise_level(table))
        spread = (1 - table).sqrt()[:, None]
        variance = table[:, None] * self.scales**2 + spread**2
        return (1 - 2 * factor * spread + factor**2 * variance).mean()

    def images(self, candidate: Candidate, count: int, seed: int) -> np.ndarray | None:
        return None

    def evaluator(self) -> dict[str, Any]:
        return {"sampler": super().evaluator()["sampler"], "metrics": "exact", "scales": SCALES}

    def truth(self, position: Tensor) -> Tensor:
        """F(q), 0-d float64: distance at the lower level's exact solution, `position` `(2,)` in
        the unit cube. Differentiable: its gradient is the true hypergradient."""
        table = self.alpha_bar(position)
        return _linear_distance(lower_solution(table), table)


def _linear_distance(coefficients: Tensor, table: Tensor) -> Tensor:
    def denoiser(x: Tensor, level: Tensor) -> Tensor:
        return noise_factor(coefficients, level) * x

    x = torch.ones((1, len(SCALES)), dtype=torch.float64)
    for now, following in transitions(table):
        x = ddim_step(denoiser, x, now, following, clip=None)
    scales = torch.tensor(SCALES, dtype=torch.float64)
    return (x.abs() - scales).square().sum()
