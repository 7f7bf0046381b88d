"""Fidelity and diversity from nearest neighbours: precision and recall (Kynkäänniemi et al.,
NeurIPS 2019, arXiv 1904.06991), density and coverage (Naeem et al., ICML 2020, arXiv 2002.09797),
and a test of memorisation (Meehan et al., AISTATS 2020, arXiv 2004.05675).

Both sets of samples are covered by balls around each sample that reach to its k-th neighbour in
the same set. All but the last depend on the number of samples: compare equal numbers only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tasks.metrics.frechet import checked

MANIFOLD_NEIGHBOURS = 3
"""k of precision and recall, as in the source."""
DENSITY_NEIGHBOURS = 5
"""k of density and coverage, as in the source."""
PAIRS = 2**24
"""Distances computed at once, which bounds memory: 128 MB."""


class Agreement(NamedTuple):
    """How generated samples agree with real ones."""

    precision: float
    """Share of generated samples in the union of the balls of real ones."""
    recall: float
    """Share of real samples in the union of the balls of generated ones."""
    density: float
    """Mean number of balls of real samples that hold a generated one, over k; may exceed 1."""
    coverage: float
    """Share of real samples whose ball holds a generated one."""


class NeighbourReference:
    """Real samples with features `(n, d)`.

    Raises ValueError for n <= k or for values that are not finite.
    """

    def __init__(
        self,
        features: Tensor,
        manifold: int = MANIFOLD_NEIGHBOURS,
        density: int = DENSITY_NEIGHBOURS,
    ) -> None:
        self.features = checked(features)
        self.manifold, self.density = manifold, density
        self.manifold_radii = radii(self.features, manifold)
        self.density_radii = radii(self.features, density)

    def compare(self, features: Tensor) -> Agreement:
        """Agreement of generated samples with features `(m, d)`, m > k.

        Raises ValueError for too few samples or for values that are not finite.
        """
        features = checked(features)
        own_radii = radii(features, self.manifold)
        inside = torch.zeros(len(features), dtype=torch.bool, device=features.device)
        balls = torch.zeros(len(features), dtype=torch.float64, device=features.device)
        reached, covered = [], []
        rows = max(PAIRS // len(features), 1)
        for start in range(0, len(self.features), rows):
            part = slice(start, start + rows)
            distances = torch.cdist(self.features[part], features)
            inside |= (distances < self.manifold_radii[part, None]).any(dim=0)
            reached.append((distances < own_radii).any(dim=1))
            held = distances < self.density_radii[part, None]
            balls += held.sum(dim=0)
            covered.append(held.any(dim=1))
        return Agreement(
            precision=inside.double().mean().item(),
            recall=torch.cat(reached).double().mean().item(),
            density=balls.mean().item() / self.density,
            coverage=torch.cat(covered).double().mean().item(),
        )


def radii(features: Tensor, neighbours: int) -> Tensor:
    """Distance of each sample to its k-th neighbour among the others, `(n,)`.

    Raises ValueError for n <= k.
    """
    if features.ndim != 2 or len(features) <= neighbours:
        shape = tuple(features.shape)
        raise ValueError(f"need features (n, d) with n > {neighbours}, got shape {shape}")
    parts = [
        torch.cdist(part, features).kthvalue(neighbours + 1, dim=1).values  # the first is itself
        for part in torch.split(features, max(PAIRS // len(features), 1))
    ]
    return torch.cat(parts)


def nearest(features: Tensor, others: Tensor) -> Tensor:
    """Distance of each of `features` `(n, d)` to the nearest of `others` `(m, d)`: `(n,)`.

    Raises ValueError for values that are not finite.
    """
    features, others = checked(features), checked(others)
    chunks = torch.split(features, max(PAIRS // len(others), 1))
    return torch.cat([torch.cdist(part, others).amin(dim=1) for part in chunks])


def memorisation(generated: Tensor, held_out: Tensor) -> float:
    """Probability that a generated sample is nearer to the train split than a held-out real one
    is, ties counted half, from the distances `(n,)` and `(m,)` of both to it (`nearest`).

    0.5 for samples of the data's own distribution, 1 for copies of training samples; below 0.5
    for samples that are farther from the data than data are.
    """
    from scipy.stats import mannwhitneyu  # takes long to import

    near, far = generated.cpu().numpy(), held_out.cpu().numpy()
    statistic = mannwhitneyu(far, near, method="asymptotic").statistic
    return float(statistic) / (len(near) * len(far))
