"""The paper's kind of synthetic reward r2 (after Yuan et al., arXiv 2404.14743): a random linear
function of the features of an ImageNet classifier, differentiable in the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.diffusion import torchvision_shim

RESNET_SIZE = 224
RESNET_MEAN = (0.485, 0.456, 0.406)
RESNET_SCALE = (0.229, 0.224, 0.225)
HEAD_SEED = 0


class RandomHead(nn.Module):
    """A random linear function of the pooled features of a ResNet-18."""

    def __init__(self, file: Path) -> None:
        """Read the network from `file`, a state dict as torchvision publishes it.

        Raises ValueError if it is not that of a ResNet-18.
        """
        super().__init__()
        torchvision_shim.ensure()
        from torchvision.models import resnet18

        self.network = resnet18()
        try:
            self.network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged file raises anything
            reason = f"{file} does not hold the weights of a ResNet-18; fetch it again"
            raise ValueError(reason) from error
        width = self.network.fc.in_features
        direction = torch.randn(width, generator=torch.Generator().manual_seed(HEAD_SEED))
        self.network.fc = nn.Identity()
        self.register_buffer("direction", direction / width**0.5)
        self.register_buffer("mean", torch.tensor(RESNET_MEAN)[:, None, None])
        self.register_buffer("scale", torch.tensor(RESNET_SCALE)[:, None, None])
        self.eval().requires_grad_(False)

    direction: Tensor
    mean: Tensor
    scale: Tensor

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Values `(n,)` of images `(n, 3, h, w)` in [0, 1], whatever their prompts; large ones are
        reduced first."""
        if min(images.shape[-2:]) > RESNET_SIZE:
            size = (RESNET_SIZE, RESNET_SIZE)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        features: Tensor = self.network((images - self.mean) / self.scale)
        return features @ self.direction
