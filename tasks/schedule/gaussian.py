"""A Gaussian in three scales under a denoiser too small for it: everything in closed form.

Data are N(0, diag(s²)), s = (2, 0.6, 0.15), and the denoiser is linear in x with coefficients
linear in cos(pi · level), one pair per coordinate. It cannot be right at every noise level, so
what it learns depends on the levels it is trained on, and ten evaluations add an error of their
own. Everything is float64.

The lower level's solution is a least-squares problem, and sampling multiplies each coordinate
by a number, so F(q) = FID(theta*(q), q) is exact (`truth`), and so is its gradient, the
hypergradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.base import Candidate
from tasks.diffusion import sampler
from tasks.diffusion.precision import FULL
from tasks.diffusion.sampler import noise_level, signal_and_spread
from tasks.metrics.frechet import FrechetReference
from tasks.schedule.base import ScheduleTask, common_levels
from tasks.schedule.plans import PLAN, PUBLISHED

SCALES = (2.0, 0.6, 0.15)
_SAMPLES = 10_000


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


def lower_solution(levels: Tensor) -> Tensor:
    """Coefficients `(3, 2)` that minimise the expected loss at training `levels`; float64."""
    signal, spread = signal_and_spread(levels)
    regressors = basis(noise_level(levels)) * signal[:, None]
    rows = []
    for scale in SCALES:
        variance = signal**2 * scale**2 + spread**2
        normal = (regressors.T * variance) @ regressors
        rows.append(torch.linalg.solve(normal, regressors.T @ (spread * (1 - variance))))
    return torch.stack(rows)


class ScheduleGaussian(ScheduleTask):
    """Fractions of a millisecond per step; reported metrics are exact, not sampled."""

    name = "schedule/gaussian"
    description = "Noise levels of a linear denoiser of a three-scale Gaussian (closed form)"
    plans = PLAN.starting_at(scale=1.0)  # from there both parts of a plan have something to gain
    space = plans.space
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
        self.features = lambda x: x.flatten(1)
        identity = torch.eye(len(SCALES), dtype=torch.float64, device=self.device)
        self.selection_reference = FrechetReference.from_statistics(
            torch.zeros_like(identity[0]), identity * self.scales**2
        )

    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        net = self.network(candidate)
        assert isinstance(net, LinearDenoiser)
        spreads = self.spreads(net, self.delivered_levels(candidate, self.evaluations))
        common = common_levels(self.device)
        return {
            "fid": float((spreads - self.scales).square().sum()),
            "fid2": float((spreads / self.scales - 1).square().sum()),
            "loss": float(self.expected_loss(net, common)),
        }

    def spreads(self, net: nn.Module, levels: Tensor) -> Tensor:
        """Standard deviations `(3,)` of what `net` generates: sampling is linear."""
        return self._sample(net, levels, torch.ones_like(self.train_images[:1])).flatten().abs()

    def expected_loss(self, net: LinearDenoiser, levels: Tensor) -> Tensor:
        """Lower-level loss of `net`, 0-d, in expectation over data, levels and noise."""
        with torch.no_grad():
            factor = noise_factor(net.coefficients, noise_level(levels))
        signal, spread = (x[:, None] for x in signal_and_spread(levels))
        variance = signal**2 * self.scales**2 + spread**2
        return (1 - 2 * factor * spread + factor**2 * variance).mean()

    def images(self, candidate: Candidate, count: int, seed: int) -> np.ndarray | None:
        return None

    def evaluator(self) -> dict[str, Any]:
        return {"sampler": super().evaluator()["sampler"], "metrics": "exact", "scales": SCALES}

    def truth(self, position: Tensor) -> Tensor:
        """F(q), 0-d float64: distance at the lower level's exact solution, `position` `(d,)` in
        the unit cube. Differentiable: its gradient is the true hypergradient."""
        coefficients = lower_solution(self.training_levels(position))
        return self.distance(coefficients, self.sampling_levels(position))

    def distance(self, coefficients: Tensor, levels: Tensor) -> Tensor:
        """Exact F, 0-d, of a denoiser with `coefficients` `(3, 2)` sampled at `levels`."""

        def denoiser(x: Tensor, level: Tensor) -> Tensor:
            return noise_factor(coefficients, level) * x

        x = torch.ones((1, len(SCALES)), dtype=torch.float64)
        before = torch.zeros_like(x)
        for row in sampler.SOLVERS[self.solver](levels):
            x, before = sampler.step(denoiser, x, before, row, None)
        return (x.abs() - torch.tensor(SCALES, dtype=torch.float64)).square().sum()


class ScheduleGaussianPublished(ScheduleGaussian):
    """The same with the paper's search space and sampler: its algorithm can be checked here."""

    name = "schedule/gaussian-published"
    description = "schedule/gaussian with the published schedules and DDIM"
    plans = PUBLISHED
    space = PUBLISHED.space
    solver = "DDIM"
