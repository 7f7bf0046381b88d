"""Inception-v3 features for FID, as clean-fid measures them (Parmar et al., CVPR 2022).

The weights are the user's own copy of the file that clean-fid uses, given by path, and checked:
a download cut short leaves a file that loads badly or not at all.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks.assets.asset import Asset, beside, digest
from tasks.diffusion import torchvision_shim

VARIABLE = "DTB_INCEPTION"
"""Environment variable with the path of the weights; without it no FID by that name is reported."""
NAME = "inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
"""Of the file called `NAME`."""
SIZE = 299


class InceptionFeatures:
    """Pooled features of 8-bit images, resized the way clean-fid does.

    Raises ValueError if `file` is not the one that FID is defined by.
    """

    def __init__(self, file: Path, device: str = "cpu") -> None:
        check(file)
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


def provided() -> Path | None:
    """The file that the environment names, whether or not it exists."""
    value = os.environ.get(VARIABLE)
    return Path(value).expanduser() if value else None


def asset() -> Asset:
    """The Inception weights; optional."""
    file = provided()
    return Asset(
        name=NAME,
        place=None if file is None else str(file),
        remedy=f"set {VARIABLE} to the path where it is or shall be",
        missing=missing,
        damage=damage,
        fetch=fetch,
        hashes=f"SHA-256 {SHA256}",
    )


def missing() -> str | None:
    """That the file the environment names is not there; None where none is named."""
    file = provided()
    return None if file is None or file.is_file() else f"{VARIABLE}={file}: no such file"


def damage() -> str | None:
    """That the file the environment names is not the original one."""
    file = provided()
    try:
        if file is not None:
            check(file)
    except ValueError as error:
        return str(error)
    return None


def fetch() -> None:
    """Have clean-fid fetch its file to where the environment names it."""
    file = provided()
    if file is None:
        return
    torchvision_shim.ensure()
    from cleanfid.downloads_helper import check_download_inception

    with beside(file) as temporary:
        fetched = Path(check_download_inception(str(temporary)))
        check(fetched)  # a connection that ends early goes unnoticed there
        fetched.replace(file)


def check(file: Path) -> None:
    """Raise ValueError if `file` is not the whole, original Inception file."""
    found = digest(file, "sha256")
    if found != SHA256:
        raise ValueError(
            f"{file} ({file.stat().st_size} bytes) is not {NAME}: "
            f"its SHA-256 is {found}, expected {SHA256}; fetch it again"
        )
