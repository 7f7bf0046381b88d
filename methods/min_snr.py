"""Min-SNR weighting of the loss over the cosine schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.fixed_table import FixedTable
from tasks.schedule.plans import PUBLISHED, resampled, visited

GAMMA = 5.0
"""Bound on the signal-to-noise ratio, as published."""


class MinSNR(FixedTable):
    """The cosine schedule with losses weighted by min(SNR, 5) / SNR, the published weight of noise
    prediction, as the density that noise levels are drawn with; uniform steps in sampling."""

    name = "min-snr"
    citation = "Hang et al., ICCV 2023, arXiv:2303.09556"

    def levels(self, evaluations: int, device: str) -> tuple[Tensor, Tensor]:
        default = torch.tensor(PUBLISHED.space.to_unit(PUBLISHED.space.default), device=device)
        table = PUBLISHED.training_levels(default)
        ratio = table.exp()
        weights = ratio.clamp(max=GAMMA) / ratio
        return resampled(table, weights), visited(table, evaluations)
