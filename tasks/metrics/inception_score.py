"""Inception score (Salimans et al., 2016, arXiv 1606.03498): exp(E KL(p(y | x) ‖ p(y))).

Of images far from ImageNet, such as digits, it says little; it is reported because the paper
reports it.
"""

from __future__ import annotations

import torch
from torch import Tensor

SPLITS = 10
"""The score is averaged over this many equal parts, as is usual. Each part has its own marginal
p(y), so only scores of equal numbers of images and parts compare."""


def inception_score(logits: Tensor, splits: int = SPLITS) -> float:
    """Mean score of `splits` consecutive parts of class scores `(n, classes)`, in float64.

    Between 1 and the number of classes. Raises ValueError for fewer images than parts, or for
    values that are not finite.
    """
    if logits.ndim != 2 or len(logits) < splits:
        raise ValueError(f"need (n, classes) with n >= {splits}, got {tuple(logits.shape)}")
    if not torch.isfinite(logits).all():
        raise ValueError("class scores are not finite")
    scores = []
    for part in torch.tensor_split(logits.double(), splits):
        log_given = part.log_softmax(dim=1)
        log_marginal = log_given.logsumexp(dim=0) - torch.tensor(float(len(part))).log()
        divergence = (log_given.exp() * (log_given - log_marginal)).sum(dim=1)
        scores.append(divergence.mean().exp())
    return float(torch.stack(scores).mean())
