"""Coverage (Naeem et al., ICML 2020, arXiv 2002.09797, eq. 6): how much of the data is generated.

The share of reference samples that have a generated one nearer than their k-th neighbour among
themselves. It notices what a Fréchet distance may not: classes or styles that are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.metrics.frechet import checked

NEIGHBOURS = 5
"""k of the source."""
ROWS = 2048
"""Rows of a matrix of distances computed at once, which bounds memory."""


class CoverageReference:
    """A reference set of features `(n, d)`, and how far each one's k-th neighbour is.

    Raises ValueError for n <= k or values that are not finite.
    """

    def __init__(self, features: Tensor, neighbours: int = NEIGHBOURS) -> None:
        if features.ndim != 2 or len(features) <= neighbours:
            shape = tuple(features.shape)
            raise ValueError(f"need features (n, d) with n > {neighbours}, got shape {shape}")
        self.features = checked(features)
        self.radii = torch.cat([
            torch.cdist(part, self.features).kthvalue(neighbours + 1, dim=1).values  # itself is one
            for part in torch.split(self.features, ROWS)
        ])  # fmt: skip
        """Distance of each to its k-th neighbour, `(n,)`."""

    def coverage(self, features: Tensor) -> Tensor:
        """Share of the reference that `features` `(m, d)` cover: 0-d, in [0, 1].

        Raises ValueError for values that are not finite.
        """
        features = checked(features)
        nearest = torch.cat([
            torch.cdist(part, features).amin(dim=1) for part in torch.split(self.features, ROWS)
        ])  # fmt: skip
        return (nearest < self.radii).double().mean()
