"""Kernel distance between two sets of features (Bińkowski et al., 2018, arXiv 1801.01401: KID).

The unbiased estimate of the squared maximum mean discrepancy under k(x, y) = (x·y / d + 1)³, from
all pairs at once and not as a mean over subsets, in float64. Unlike a Fréchet distance it assumes
no shape of the features and is not biased by the number of samples; it may be slightly negative.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.metrics.frechet import checked

ROWS = 2048
"""Rows of a kernel matrix computed at once, which bounds memory."""


class KernelReference:
    """A reference set of features `(n, d)`, with the part of the distance that is its own.

    Raises ValueError for fewer than two samples or for values that are not finite.
    """

    def __init__(self, features: Tensor) -> None:
        self.features = _checked(features)
        self.within = _mean_of_pairs(self.features)

    def distance(self, features: Tensor) -> Tensor:
        """Squared discrepancy of `features` `(m, d)` to the reference: 0-d, float64.

        Raises ValueError for m < 2 or values that are not finite.
        """
        features = _checked(features)
        between = _sum(features, self.features) / (len(features) * len(self.features))
        return _mean_of_pairs(features) + self.within - 2 * between


def _mean_of_pairs(features: Tensor) -> Tensor:
    """Mean kernel of two different samples."""
    count = len(features)
    of_itself = (features.square().sum(dim=1) / features.shape[1] + 1).pow(3).sum()
    return (_sum(features, features) - of_itself) / (count * (count - 1))


def _sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the kernel over all pairs of a row of `a` and one of `b`."""
    parts = [(part @ b.T / b.shape[1] + 1).pow(3).sum() for part in torch.split(a, ROWS)]
    return torch.stack(parts).sum()


def _checked(features: Tensor) -> Tensor:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"need features (n, d) with n >= 2, got shape {tuple(features.shape)}")
    return checked(features)
