"""Plans: the noise levels that a network is trained on, and those it is sampled at.

A level is a log signal-to-noise ratio, lsnr = log(alpha_bar / (1 - alpha_bar)), float64. A plan
has two parts, which need not agree because a network is told the noise level and not the step:

- **training levels** `(TABLE,)`, one of which is drawn uniformly for every image: the quantiles
  of a distribution of lsnr;
- **sampling levels** `(steps,)`, from the noisy end to the clean one.

Both are differentiable functions of a position in the unit cube of a search space.

`PLAN` is the family of the suite's tasks. With u uniform on (0, 1) the training distribution is

    lsnr = location + scale ((1 - shape) Q_Laplace(u) + shape Q_normal(u)),

Q being quantile functions. It contains the Laplace distribution (shape 0: Hang et al., 2024,
arXiv 2407.03297, take location 0, scale 0.5), EDM's normal one (shape 1, location and scale 2.4:
Karras et al., 2022, arXiv 2206.00364, ln(sigma) ~ N(-1.2, 1.2²)), and, at location -0.05, scale
2.56 and shape 0.58, the default cosine table, to 0.15 in lsnr between its quantiles of 5 and 95 %.
The sampling levels are

    lsnr_i = (1 - arc) E_i + arc C_i,
    E_i = -2 rho log(sigma_max^(1/rho) + i / (steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho))),
    C_i = -2 log tan(a_i), a_i evenly spaced from atan(sigma_max) to atan(sigma_min):

EDM's at arc 0, uniform steps of a cosine table at arc 1.

`PUBLISHED` is the family of Xiao et al., 2025 (arXiv 2502.08808): one cosine table for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from tasks.schedule.schedules import cosine
from tasks.space import Params, Space, Variable

TABLE = 1000
"""Training levels of a plan, all equally likely."""
BOUND = 16.0
"""Largest |lsnr| that networks are trained on."""


@dataclass(frozen=True)
class PlanFamily(ABC):
    """Plans as a function of the variables of `space`."""

    space: Space
    sampling_names: ClassVar[tuple[str, ...]]
    """Variables that the sampling levels depend on."""
    coupled: ClassVar[bool] = False
    """Whether the training levels depend on these variables too."""

    @abstractmethod
    def training(self, values: dict[str, Tensor]) -> Tensor:
        """Training levels `(TABLE,)` at `values` of the variables, 0-d each."""

    @abstractmethod
    def sampling(self, values: dict[str, Tensor], steps: int) -> Tensor:
        """Sampling levels `(steps,)`, increasing."""

    def training_levels(self, position: Tensor) -> Tensor:
        """Training levels `(TABLE,)` at `position` `(d,)` in the unit cube; differentiable."""
        return self.training(self.values(position))

    def sampling_levels(self, position: Tensor, steps: int) -> Tensor:
        """Sampling levels `(steps,)` at `position` `(d,)` in the unit cube; differentiable."""
        return self.sampling(self.values(position), steps)

    def values(self, position: Tensor) -> dict[str, Tensor]:
        """The variables at `position` `(d,)` in the unit cube, 0-d float64 each."""
        values = {}
        for x, variable in zip(position.double(), self.space.variables, strict=True):
            span = variable.high / variable.low if variable.log else variable.high - variable.low
            value: Tensor = variable.low * span**x if variable.log else variable.low + span * x
            values[variable.name] = value
        return values

    def starting_at(self, **params: float) -> PlanFamily:
        """The same family with another default point, where `params` name it."""
        return replace(self, space=self.space.starting_at(**params))


class Plan(PlanFamily):
    """The family described above: location, scale, shape; sigma_max, sigma_min, rho, arc."""

    sampling_names = ("sigma_max", "sigma_min", "rho", "arc")

    def training(self, values: dict[str, Tensor]) -> Tensor:
        location, scale, shape = (values[name] for name in ("location", "scale", "shape"))
        grid = quantiles(location)
        mixture = (1 - shape) * _laplace(grid) + shape * torch.special.ndtri(grid)
        levels: Tensor = location + scale * mixture
        return levels.clamp(-BOUND, BOUND)

    def sampling(self, values: dict[str, Tensor], steps: int) -> Tensor:
        first, last, rho, arc = (values[name] for name in ("sigma_max", "sigma_min", "rho", "arc"))
        share = torch.linspace(0, 1, steps, dtype=torch.float64, device=first.device)
        power = torch.lerp(first ** (1 / rho), last ** (1 / rho), share)
        angle = torch.lerp(torch.atan(first), torch.atan(last), share)
        return torch.lerp(-2 * rho * power.log(), -2 * torch.tan(angle).log(), arc)

    def nearest(self, levels: Tensor) -> Params:
        """The point whose training levels are closest to `levels` `(TABLE,)` in least squares,
        with the default sampling levels, inside the box."""
        ordered = levels.detach().double().sort().values
        grid = quantiles(ordered)
        design = torch.stack([torch.ones_like(grid), _laplace(grid), torch.special.ndtri(grid)], 1)
        location, first, second = (
            torch.linalg.lstsq(design, ordered[:, None]).solution[:, 0].tolist()
        )
        scale = max(first + second, 1e-9)
        found = {"location": location, "scale": scale, "shape": second / scale}
        # rounded, because the last digits of a least-squares solution differ from call to call
        return {
            v.name: min(max(round(found.get(v.name, v.default), 9), v.low), v.high)
            for v in self.space.variables
        }


class PublishedFamily(PlanFamily):
    """Training on all entries of a cosine table, sampling at evenly spaced ones.

    `start` acts through end - start, and shifts the start itself by a thousandth only.
    """

    sampling_names = ("start", "end", "tau", "eps")
    coupled = True

    def training(self, values: dict[str, Tensor]) -> Tensor:
        start, end = values["start"], values["end"]
        return log_ratio(cosine(end - start, start / TABLE, values["tau"], values["eps"]))

    def sampling(self, values: dict[str, Tensor], steps: int) -> Tensor:
        return visited(self.training(values), steps)


def log_ratio(alpha_bar: Tensor) -> Tensor:
    """The levels of a table of `alpha_bar`."""
    return alpha_bar.log() - torch.log1p(-alpha_bar)


def visited(levels: Tensor, steps: int) -> Tensor:
    """`steps` evenly spaced entries of the table `levels` `(T,)`, from its last to its first."""
    places = torch.linspace(0, len(levels) - 1, steps).round().long().flip(0)
    return levels[places.to(levels.device)]


def quantiles(like: Tensor) -> Tensor:
    """`(TABLE,)` midpoints of equal parts of (0, 1)."""
    return (torch.arange(TABLE, dtype=torch.float64, device=like.device) + 0.5) / TABLE


def resampled(levels: Tensor, weights: Tensor) -> Tensor:
    """Training levels `(TABLE,)` with density in proportion to `weights` `(n,)` at `levels` `(n,)`.

    Drawing a level more often has the same expected gradient as a larger weight of its loss.
    """
    order = levels.argsort()
    mass = weights[order].double().cumsum(0)
    place = quantiles(levels) * mass[-1]
    after = torch.searchsorted(mass, place).clamp(1, len(levels) - 1)
    share = (place - mass[after - 1]) / (mass[after] - mass[after - 1]).clamp(min=1e-30)
    ordered = levels[order].double()
    return torch.lerp(ordered[after - 1], ordered[after], share.clamp(0, 1))


def _laplace(grid: Tensor) -> Tensor:
    """Quantiles of the standard Laplace distribution."""
    middle = 2 * grid - 1
    return -middle.sign() * torch.log1p(-middle.abs())


def refined(levels: Tensor, steps: int) -> Tensor:
    """`steps` levels for the same path as `levels` `(n,)`: linear in lsnr in between."""
    place = torch.linspace(0, len(levels) - 1, steps, dtype=torch.float64, device=levels.device)
    below = place.floor().long().clamp(max=len(levels) - 2)
    return torch.lerp(levels[below], levels[below + 1], place - below)


PLAN = Plan(
    Space(
        (
            Variable("location", -5.0, 6.0, default=0.0),
            Variable("scale", 0.1, 6.0, default=0.5, log=True),
            Variable("shape", -0.5, 1.25, default=0.0),
            Variable("sigma_max", 5.0, 1000.0, default=80.0, log=True),
            Variable("sigma_min", 0.0005, 0.1, default=0.002, log=True),
            Variable("rho", 1.0, 20.0, default=7.0, log=True),
            Variable("arc", 0.0, 1.0, default=0.0),
        )
    )
)
"""The suite's space. The default point is the strongest plan of the literature on digits, fixed
before any other task was looked at: Laplace training levels and EDM's sampling levels."""
LAPLACE = {"location": 0.0, "scale": 0.5, "shape": 0.0}
NORMAL = {"location": 2.4, "scale": 2.4, "shape": 1.0}
"""EDM's training levels."""
KARRAS = {"sigma_max": 80.0, "sigma_min": 0.002, "rho": 7.0, "arc": 0.0}
"""EDM's sampling levels."""
COSINE = {
    "location": -0.05, "scale": 2.56, "shape": 0.58,
    "sigma_max": 300.0, "sigma_min": 0.0064, "rho": 7.0, "arc": 1.0,
}  # fmt: skip
"""Uniform training on the default cosine table and uniform steps of it."""
PUBLISHED = PublishedFamily(
    Space(
        (
            Variable("start", 0.0, 0.4, default=0.0),
            Variable("end", 0.8, 1.0, default=1.0),
            Variable("tau", 1.0, 4.0, default=1.0),
            Variable("eps", 0.005, 0.04, default=0.008),
        )
    )
)
"""The box that the paper's Bayesian baseline searches, with its formula."""
