"""Gradients of an upper-level objective F(q) from noisy values alone.

An objective is called as `objective(q, seed)` and returns F(q) from the random numbers of
`seed`: a Fréchet distance from initial noise drawn with it, say. Two values with one seed have
common random numbers, and what the noise adds to both cancels in their difference. All values
of an estimate are known before the first is computed: `Together` is for objectives that sample
them in one batch.

With v of mean zero and E[v vᵀ] = I, g the gradient and H the Hessian of F at q, radius r,

    (1)  central   (F(q + r v) - F(q - r v)) / (2 r) · v
    (2)  forward   (F(q + r v) - F(q)) / r · v

estimate g with a bias of O(r²). Both are unbiased for a quadratic, (1) whatever H is. One
direction of (1) has covariance

    Gaussian v                    |g|² I + g gᵀ
    v on the sphere |v|² = d      (d |g|² I + (d - 2) g gᵀ) / (d + 2)

plus, with noise of variance s² that is fresh on both sides, s² / (2 r²) I, which no choice of
the direction removes. Independent directions divide all of it by their number.

Nesterov & Spokoiny, Found. Comput. Math. 2017 (Gaussian directions); Duchi, Jordan, Wainwright &
Wibisono, IEEE Trans. Inf. Theory 2015, arXiv 1312.2139 (two points, the sphere, several
directions). The same gradient through the sampler, exact for its noise, is
`ScheduleTask.frechet_gradient`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor, int], Tensor | float]
"""F at `(d,)`, 0-d, from the random numbers of a seed."""
_SEEDS = 2**62


@dataclass(frozen=True)
class Together:
    """An objective that takes several positions at once."""

    values: Callable[[Tensor, Sequence[int]], Tensor]
    """F `(k,)` at `(k, d)`, each from the random numbers of its own seed."""


def two_point(
    objective: Objective | Together,
    position: Tensor,
    radius: float,
    generator: torch.Generator,
    directions: int = 1,
    *,
    common: bool = True,
    sphere: bool = False,
    central: bool = True,
) -> Tensor:
    """Mean of (1), or of (2) if not `central`, over random directions: `(d,)`, as `position`.

    `radius` > 0 is in the units of `position` `(d,)`; `directions` >= 1. `common` gives both
    sides of a difference the same seed. Directions are normal, or uniform on the sphere of
    radius √d. Costs 2 · `directions` values of F, or `directions` + 1 if not `central`; every
    central difference has seeds of its own, while forward ones share one value at `position`.

    Raises ValueError for a radius or a number of directions that is not positive.
    """
    _check(radius, directions)
    if central:
        drawn = [
            (direction(position, generator, sphere), *_seeds(generator, common))
            for _ in range(directions)
        ]
        steps = torch.stack([v for v, *_ in drawn])
        pairs = [(above, below) for _, above, below in drawn]
        slopes = _central(objective, position, radius * steps, pairs) / radius
        return (slopes[:, None] * steps).mean(dim=0)
    here = draw_seed(generator)
    drawn_forward = [
        (direction(position, generator, sphere), here if common else draw_seed(generator))
        for _ in range(directions)
    ]
    steps = torch.stack([v for v, _ in drawn_forward])
    points = torch.cat([position[None], position + radius * steps])
    values = _values(objective, points, [here, *(seed for _, seed in drawn_forward)])
    return ((values[1:] - values[0])[:, None] / radius * steps).mean(dim=0)


def coordinate(
    objective: Objective | Together,
    position: Tensor,
    radius: float,
    generator: torch.Generator,
    *,
    common: bool = True,
) -> Tensor:
    """Central differences along every axis: `(d,)`, from 2 d values of F.

    No direction is random, so all variance comes from the noise: s² / (2 r²) per coordinate
    where it is fresh. Arguments as in `two_point`.
    """
    _check(radius)
    steps = radius * torch.eye(len(position)).to(position)
    seeds = [_seeds(generator, common) for _ in steps]
    return _central(objective, position, steps, seeds) / radius


def direction(like: Tensor, generator: torch.Generator, sphere: bool = False) -> Tensor:
    """v with mean zero and E[v vᵀ] = I, `(d,)`: normal, or uniform on the sphere |v|² = d."""
    v = torch.randn(
        like.shape, generator=generator, dtype=like.dtype, device=generator.device
    ).to(like)  # fmt: skip
    return v * len(v) ** 0.5 / torch.linalg.vector_norm(v) if sphere else v


def draw_seed(generator: torch.Generator) -> int:
    """A new seed for the noise of an objective."""
    return int(torch.randint(_SEEDS, (), generator=generator, device=generator.device))


def _seeds(generator: torch.Generator, common: bool) -> tuple[int, int]:
    """Seeds of the two sides of a difference."""
    above = draw_seed(generator)
    return above, above if common else draw_seed(generator)


def _central(
    objective: Objective | Together,
    position: Tensor,
    steps: Tensor,
    seeds: Sequence[tuple[int, int]],
) -> Tensor:
    """Halves `(k,)` of the differences of F over `position` ± each of `steps` `(k, d)`."""
    points = torch.stack([position + steps, position - steps], dim=1).flatten(0, 1)
    values = _values(objective, points, [seed for pair in seeds for seed in pair])
    return (values[0::2] - values[1::2]) / 2


def _values(objective: Objective | Together, points: Tensor, seeds: Sequence[int]) -> Tensor:
    """F `(k,)` at `points` `(k, d)`, in their precision."""
    if isinstance(objective, Together):
        return objective.values(points, seeds).to(points)
    pairs = zip(points, seeds, strict=True)
    return torch.stack([torch.as_tensor(objective(q, seed)) for q, seed in pairs]).to(points)


def _check(radius: float, directions: int = 1) -> None:
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    if directions < 1:
        raise ValueError(f"need one direction or more, got {directions}")
