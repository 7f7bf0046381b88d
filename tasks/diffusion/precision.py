"""The number format that networks compute in; weights, images and tables keep their own."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.diffusion.sampler import Denoiser

FULL, BFLOAT16 = "float32", "bfloat16"


def lowered(denoiser: Denoiser, precision: str) -> Denoiser:
    """`denoiser` under torch's automatic mixed precision, or itself in full precision.

    Matrix products and convolutions round to 16 bits; weights, their gradients, the optimiser,
    and what goes in and comes out stay as they are. bfloat16 has the range of float32, so that
    no loss needs to be scaled.
    """
    if precision == FULL:
        return denoiser

    def lower(images: Tensor, level: Tensor) -> Tensor:
        with torch.autocast(images.device.type, getattr(torch, precision)):
            return denoiser(images, level).to(images.dtype)

    return lower
