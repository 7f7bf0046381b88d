"""Inception-v3 features for FID, as clean-fid measures them (Parmar et al., CVPR 2022)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks.assets import inception
from tasks.diffusion import torchvision_shim


class InceptionFeatures:
    """Pooled features of 8-bit images, resized the way clean-fid does.

    Raises ValueError if `file` is not the one that FID is defined by.
    """

    def __init__(self, file: Path, device: str = "cpu") -> None:
        inception.check(file)
        torchvision_shim.ensure()  # clean-fid imports torchvision
        from cleanfid.resize import build_resizer

        self.resize = build_resizer("clean")
        self.network = torch.jit.load(str(file), map_location=device).eval()  # type: ignore[no-untyped-call]
        self.device = device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features `(n, 2048)` of images `(n, 3, height, width)` in [-1, 1]."""
        pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
        resized = np.stack([self.resize(image.transpose(1, 2, 0)) for image in pixels])
        batch = torch.from_numpy(resized).to(self.device).permute(0, 3, 1, 2)
        features: Tensor = self.network.layers((batch - 128) / 128)
        return features.flatten(1)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Class scores `(n, 1008)` of features `(n, 2048)`, without the bias of the last layer,
        as the Inception score is defined on the original network."""
        scores: Tensor = features @ self.network.output.weight.T
        return scores
