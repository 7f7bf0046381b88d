"""Fréchet distance between Gaussians fitted to features (Heusel et al., 2017, arXiv 1706.08500).

d² = |m1 - m2|² + tr(C1) + tr(C2) - 2 tr((C1 C2)^½), always in float64. Nothing here takes the
square root of a general matrix: with C2 = H Hᵀ and centred features X (C1 = Xᵀ X / (n - 1)),
tr((C1 C2)^½) is the nuclear norm of X H / √(n - 1), or the sum of the square roots of the
eigenvalues of Hᵀ C1 H. Both stay exact for singular covariances. Fewer samples than features
make either side low-rank, and only the smaller of the two products is ever decomposed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 256
"""Rows of a block of a symmetric product; below it blocks cost more than they save."""


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """Squared Fréchet distance of N(mean1, cov1) and N(mean2, cov2): means `(d,)`, covariances
    `(d, d)`, symmetric positive semi-definite.

    A 0-d float64 tensor. Raises ValueError for values that are not finite.
    """
    mean1, cov1, mean2, cov2 = (checked(x) for x in (mean1, cov1, mean2, cov2))
    factor = _factor(cov2)
    trace = _root_sum(torch.linalg.eigvalsh(factor.T @ cov1 @ factor))
    return _combine(mean1, cov1.trace(), mean2, cov2.trace(), trace)


class FrechetReference:
    """Statistics of a reference set of features `(n, d)`, with its covariance factored once.

    Raises ValueError for fewer than two samples or for values that are not finite.
    """

    def __init__(self, features: Tensor) -> None:
        centred, mean = _centred(features)
        root = (len(features) - 1) ** 0.5
        if len(features) <= features.shape[1]:
            self._keep(mean, centred.square().sum() / root**2, centred.T / root)
        else:
            covariance = _gram(centred.T / root)
            self._keep(mean, covariance.trace(), _factor(covariance))

    @classmethod
    def from_statistics(cls, mean: Tensor, covariance: Tensor) -> FrechetReference:
        """A reference with known mean `(d,)` and covariance `(d, d)`."""
        reference = cls.__new__(cls)
        covariance = checked(covariance)
        reference._keep(checked(mean), covariance.trace(), _factor(covariance))
        return reference

    def _keep(self, mean: Tensor, trace: Tensor, factor: Tensor) -> None:
        self.mean = mean
        self.trace = trace
        self.factor = factor

    def distance(self, features: Tensor) -> Tensor:
        """Squared Fréchet distance of `features` `(n, d)` to the reference: 0-d, float64.

        Differentiable in `features`. Raises ValueError for n < 2 or non-finite features.
        """
        centred, mean = _centred(features)
        degrees = len(features) - 1
        rank = self.factor.shape[1]
        if len(features) < rank:
            gram = _gram(centred @ self.factor)
        elif len(features) < features.shape[1]:
            gram = _gram((centred @ self.factor).T)
        else:
            gram = self.factor.T @ _gram(centred.T) @ self.factor
        trace = _root_sum(torch.linalg.eigvalsh(gram / degrees))
        return _combine(mean, centred.square().sum() / degrees, self.mean, self.trace, trace)

    def distance_to(self, mean: Tensor, covariance: Tensor) -> Tensor:
        """Squared Fréchet distance of N(`mean` `(d,)`, `covariance` `(d, d)`) to the reference:
        0-d, float64, differentiable in both. Raises ValueError for values that are not finite."""
        mean, covariance = checked(mean), checked(covariance)
        root = _root_sum(torch.linalg.eigvalsh(self.factor.T @ covariance @ self.factor))
        return _combine(mean, covariance.trace(), self.mean, self.trace, root)


@dataclass
class Moments:
    """Moving moments of generated features, of many small batches.

    The covariance of one small batch is far from the law's, and the distance biased upwards.
    """

    decay: float
    """Share that each batch leaves of what came before it."""
    first: Tensor | None = None
    """Mean, `(d,)`, float64."""
    second: Tensor | None = None
    """Mean of the outer products, `(d, d)`."""

    def update(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance with `features` `(n, d)` blended in.

        Their values are those of the moving moments, and they change with `features` as the
        batch's own do: what is computed from them has the gradient of its first variation, an
        average over the samples of the batch of a function that the moments determine.
        """
        features = features.double()
        first, second = features.mean(dim=0), features.T @ features / len(features)
        self.first = self._blend(self.first, first)
        self.second = self._blend(self.second, second)
        mean = self.first + (first - first.detach())
        return mean, self.second + (second - second.detach()) - torch.outer(mean, mean)

    def _blend(self, past: Tensor | None, batch: Tensor) -> Tensor:
        batch = batch.detach()
        return batch if past is None else torch.lerp(batch, past, self.decay)


def _combine(mean1: Tensor, trace1: Tensor, mean2: Tensor, trace2: Tensor, root: Tensor) -> Tensor:
    """The distance; what rounding leaves of equal Gaussians, on either side of zero, is zero."""
    distance = (mean1 - mean2).square().sum() + trace1 + trace2 - 2 * root
    rounding = (trace1 + trace2).detach() * len(mean1) * torch.finfo(torch.float64).eps
    return distance * (distance > rounding)


def _root_sum(eigenvalues: Tensor) -> Tensor:
    """Sum of square roots; rounding noise around zero counts as zero, in the gradient too."""
    if not len(eigenvalues):
        return eigenvalues.sum()
    floor = eigenvalues.detach().amax() * len(eigenvalues) * torch.finfo(torch.float64).eps
    return eigenvalues[eigenvalues > floor].sqrt().sum()


def _gram(rows: Tensor) -> Tensor:
    """rows · rowsᵀ, each block of it and its mirror image multiplied out once."""
    if len(rows) <= 2 * BLOCK:
        return rows @ rows.T
    half = len(rows) // 2
    upper, lower = rows[:half], rows[half:]
    corner = lower @ upper.T
    return torch.cat(
        [
            torch.cat([_gram(upper), corner.T], dim=1),
            torch.cat([corner, _gram(lower)], dim=1),
        ]
    )


def _factor(covariance: Tensor) -> Tensor:
    """H with H Hᵀ = covariance, one column per non-zero eigenvalue."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values.amax() * len(values) * torch.finfo(torch.float64).eps
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"need features (n, d) with n >= 2, got shape {tuple(features.shape)}")
    features = features.double()
    mean = checked(features.mean(dim=0))  # one value that is not finite makes its mean so
    return features - mean, mean


def checked(values: Tensor) -> Tensor:
    """`values` in float64. Raises ValueError for what is not finite."""
    if not torch.isfinite(values).all():
        raise ValueError("features or statistics are not finite")
    return values.double()
