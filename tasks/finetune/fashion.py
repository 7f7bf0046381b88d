"""Fine-tuning on latent Fashion-MNIST: a held-out task, with other rewards than the digits'.

No method, setting or budget was chosen on it, and its rewards were fixed before anything ran:

    r2 = log P(asked-for class) / (1 - P(asked-for class)), by a guiding classifier
    r1 = 1 if another classifier, trained on other images, sees the asked-for class and the image
         is no further from that class than 19 of 20 real images are, else 0

Distance is Mahalanobis' in the features of the second classifier, with class means and one
covariance (Lee et al., 2018, arXiv 1807.03888). r2 is without bound, so that guidance goes on
when an image is recognised, away from all real ones. r1 is a step function with no gradient, and
no function of r2: with more guidance more images are recognised and fewer are typical.

Everything that the task needs is shipped; the images themselves are not needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.assets import networks
from tasks.finetune.base import per_group
from tasks.finetune.latent import LatentTask, diffusion_name, rewards_name
from tasks.finetune.models import CLASSES, untrained
from tasks.finetune.sampling import Sampler
from tasks.metrics.features import DIMENSIONS, FeatureNet, feature_net
from tasks.metrics.frechet import FrechetReference

FEATURES = 32
"""Features of the second classifier."""


class Acceptance(nn.Module):
    """Both rewards: a guiding classifier, and an independent one that accepts or rejects."""

    def __init__(self) -> None:
        super().__init__()
        self.guide = FeatureNet(width=12, dimension=32)
        self.judge = FeatureNet(width=20, dimension=FEATURES)
        self.register_buffer("odds_mean", torch.tensor(0.0))
        self.register_buffer("odds_scale", torch.tensor(1.0))
        self.register_buffer("centres", torch.zeros(CLASSES, FEATURES))
        self.register_buffer("precision", torch.eye(FEATURES))
        self.register_buffer("limits", torch.ones(CLASSES))

    odds_mean: Tensor
    odds_scale: Tensor
    centres: Tensor
    precision: Tensor
    limits: Tensor

    def log_odds(self, images: Tensor, labels: Tensor) -> Tensor:
        """Log odds `(n,)` that the guide gives to the asked-for class."""
        scores = self.guide.logits(images)
        others = scores.masked_fill(F.one_hot(labels, CLASSES).bool(), -torch.inf)
        odds: Tensor = scores.gather(1, labels[:, None])[:, 0] - others.logsumexp(dim=1)
        return odds

    def lower(self, images: Tensor, labels: Tensor) -> Tensor:
        """r2 `(n,)`: log odds in standard deviations from the pre-trained mean."""
        return (self.log_odds(images, labels) - self.odds_mean) / self.odds_scale

    def distance(self, images: Tensor, labels: Tensor) -> Tensor:
        """Squared Mahalanobis distance `(n,)` from the centre of the asked-for class."""
        away: Tensor = self.judge(images) - self.centres[labels]
        return ((away @ self.precision) * away).sum(dim=1)

    def upper(self, images: Tensor, labels: Tensor) -> Tensor:
        """r1 `(n,)`, 0 or 1: recognised and typical."""
        recognised = self.judge.logits(images).argmax(dim=1) == labels
        typical = self.distance(images, labels) <= self.limits[labels]
        return (recognised & typical).to(images.dtype)


class ReferenceMoments(nn.Module):
    """Mean and covariance of the features of held-out images, for the Fréchet distance."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension, dtype=torch.float64))
        self.register_buffer("covariance", torch.eye(dimension, dtype=torch.float64))

    mean: Tensor
    covariance: Tensor


class FinetuneFashion(LatentTask):
    """Recognised and typical garments from one entropy strength."""

    name = "finetune/fashion"
    description = "Entropy strength of classifier-guided sampling, Fashion-MNIST at 14 x 14"
    dataset = "fashion14"
    batch = 500
    budget = 300 / 3600

    def setup(self) -> None:
        self.model = networks.load(
            diffusion_name(self.dataset), untrained(self.dataset), self.device
        )
        self.acceptance = networks.load(rewards_name(self.dataset), Acceptance(), self.device)
        self.features = feature_net(self.dataset, "first", self.device)
        self.judge = feature_net(self.dataset, "second", self.device)
        moments = networks.load(
            reference_name(self.dataset), ReferenceMoments(DIMENSIONS[self.dataset]), self.device
        )
        self.reference = FrechetReference.from_statistics(moments.mean, moments.covariance)
        self.sampler = Sampler()

    def reference_images(self) -> str:
        return f"{self.dataset} report split, 10000 images (their moments)"

    @classmethod
    def networks_used(cls) -> list[str]:
        return [*super().networks_used(), reference_name(cls.dataset)]

    def lower(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.acceptance.lower(images, labels)

    def upper(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.acceptance.upper(images, labels)


class FinetuneFashionPerClass(FinetuneFashion):
    """One entropy strength per class of garment."""

    name = "finetune/fashion-perclass"
    description = "Ten entropy strengths of classifier-guided sampling, one per Fashion-MNIST class"
    space = per_group(CLASSES)


def reference_name(dataset: str) -> str:
    """Name of the shipped feature moments of `dataset`."""
    return f"reference-{dataset}"
