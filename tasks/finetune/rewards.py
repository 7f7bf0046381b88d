"""The two rewards of the digit tasks.

The lower level is given r2 = ink, the mean pixel intensity, standardised on samples of the
pre-trained model: a reward that is easy to optimise and does not know what it destroys. The
upper level wants r1, digits that are recognisable and bold:

    r1 = P(asked-for class | image) - 0.2 · (ink - target)²

With more guidance ink grows, first towards the target, then past it into blobs that the
classifier no longer recognises; so r1 has an interior optimum in the entropy strength.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tasks.metrics.features import FeatureNet

INK_PENALTY = 0.2


@dataclass(frozen=True)
class Rewards:
    """Rewards of n samples: `upper` r1 and `lower` r2, float `(n,)`.

    `group` `(n,)` long is the class a sample was generated for, for methods that tune one
    entropy strength per class; None where there are no classes.
    """

    upper: Tensor
    lower: Tensor
    group: Tensor | None = None

    def __len__(self) -> int:
        return len(self.upper)

    def chunk(self, parts: int) -> list[Rewards]:
        """Equal parts, in order."""
        groups = [None] * parts if self.group is None else self.group.chunk(parts)
        chunks = zip(self.upper.chunk(parts), self.lower.chunk(parts), groups, strict=True)
        return [Rewards(upper, lower, group) for upper, lower, group in chunks]

    def first(self, count: int) -> Rewards:
        """The first `count` samples."""
        group = None if self.group is None else self.group[:count]
        return Rewards(self.upper[:count], self.lower[:count], group)

    def of_group(self, group: int) -> Rewards:
        """The samples of one class."""
        assert self.group is not None
        member = self.group == group
        return Rewards(self.upper[member], self.lower[member])

    def members(self) -> list[Tensor]:
        """Places of the samples of each class `(m,)` long, on the CPU; without classes, of all."""
        if self.group is None:
            return [torch.arange(len(self))]
        group = self.group.cpu()
        return [(group == label).nonzero()[:, 0] for label in torch.unique(group)]

    @staticmethod
    def concatenate(parts: list[Rewards]) -> Rewards:
        """One set of rewards from several, in order."""
        groups = [part.group for part in parts if part.group is not None]
        return Rewards(
            torch.cat([part.upper for part in parts]),
            torch.cat([part.lower for part in parts]),
            torch.cat(groups) if groups else None,
        )


class InkAndRecognition(nn.Module):
    """Computes both rewards; its classifier is not the one that FID features come from."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = FeatureNet(width=12, dimension=32)
        self.register_buffer("ink_mean", torch.tensor(0.0))
        self.register_buffer("ink_scale", torch.tensor(1.0))

    ink_mean: Tensor
    ink_scale: Tensor

    def lower(self, images: Tensor) -> Tensor:
        """r2 `(n,)` of images `(n, 1, h, w)`: ink in standard deviations."""
        return (images.mean(dim=(1, 2, 3)) - self.ink_mean) / self.ink_scale

    def recognition(self, images: Tensor, labels: Tensor) -> Tensor:
        """Probability `(n,)` that the classifier gives to the asked-for class."""
        probabilities = self.classifier.logits(images).softmax(dim=1)
        return probabilities.gather(1, labels[:, None])[:, 0]

    def upper(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        """r1 `(n,)` of images asked to show `labels` `(n,)`, with ink targets `(n,)`."""
        misses = (self.lower(images) - targets) ** 2
        return self.recognition(images, labels) - INK_PENALTY * misses
