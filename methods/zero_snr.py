"""The linear schedule of DDPM, rescaled to end at pure noise."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.fixed_table import FixedTable
from tasks.schedule.plans import BOUND, TABLE, log_ratio


class ZeroSNR(FixedTable):
    """DDPM's linear betas with zero terminal signal-to-noise ratio, sampled at trailing steps.

    The published remedy predicts v at the last step; the noise prediction of the tasks' networks
    needs some signal, so the ratio ends at exp(-16) here.
    """

    name = "zero-snr"
    citation = "Lin et al., WACV 2024, arXiv:2305.08891"

    def levels(self, evaluations: int, device: str) -> tuple[Tensor, Tensor]:
        table = rescaled()
        last = torch.arange(evaluations, 0, -1) * TABLE // evaluations - 1
        return table.to(device), table[last].to(device)


def rescaled() -> Tensor:
    """Levels `(TABLE,)` of algorithm 1 of the source, from the clean end to the noisy one."""
    betas = torch.linspace(1e-4, 0.02, TABLE, dtype=torch.float64)
    root = (1 - betas).cumprod(0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return log_ratio(root.square().clamp(1e-9, 1 - 1e-12)).clamp(-BOUND, BOUND)
