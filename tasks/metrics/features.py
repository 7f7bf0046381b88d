"""Feature networks for Fréchet distances: small classifiers of the data set at hand.

ImageNet features mean little on digits, so the penultimate activations of a CNN trained on the
train split replace Inception's. Two networks of different width and seed exist per data set.
`tasks.metrics.spaces` has the spaces that no method sees.
"""

from __future__ import annotations

from functools import cache

from torch import Tensor, nn
from torch.nn import functional as F

from tasks.assets import networks

DIMENSIONS = {"digits": 32, "mnist14": 64, "mnist28": 64, "fashion14": 64, "cifar10": 128}
_WIDTHS = {"first": 16, "second": 24}


class FeatureNet(nn.Module):
    """Three convolutions and two dense layers; `forward` is the penultimate layer."""

    def __init__(self, width: int, dimension: int, channels: int = 1) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.dense = nn.Linear(8 * width, dimension)
        self.head = nn.Linear(dimension, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Features `(n, dimension)` of images `(n, channels, size, size)` in [-1, 1]."""
        return F.silu(self.dense(self.convolutions(images)))

    def logits(self, images: Tensor) -> Tensor:
        """Class scores `(n, 10)`."""
        scores: Tensor = self.head(self(images))
        return scores


def weights_name(dataset: str, which: str) -> str:
    """Name of the file of a feature network."""
    return f"features-{dataset}-{which}"


def untrained(dataset: str, which: str) -> FeatureNet:
    """The architecture of a feature network, initialised from the global random generator."""
    if dataset == "cifar10":
        return FeatureNet(4 * _WIDTHS[which], DIMENSIONS[dataset], channels=3)
    return FeatureNet(_WIDTHS[which], DIMENSIONS[dataset])


@cache
def feature_net(dataset: str, which: str, device: str = "cpu") -> FeatureNet:
    """The frozen network `which` ("first" or "second") of `dataset`."""
    return networks.load(weights_name(dataset, which), untrained(dataset, which), device)
