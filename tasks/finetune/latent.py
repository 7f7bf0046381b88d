"""Fine-tuning tasks on the shipped latent diffusion models."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.assets import networks
from tasks.base import Candidate, Metric
from tasks.data import datasets
from tasks.finetune.base import LOWER_REWARD, REWARD
from tasks.finetune.images import ImageTask
from tasks.finetune.models import CLASSES, LatentDiffusion, untrained
from tasks.finetune.rewards import InkAndRecognition
from tasks.finetune.sampling import Sampler
from tasks.metrics.features import feature_net, weights_name
from tasks.metrics.frechet import FrechetReference

FID = Metric("fid", "FID (task features)", log=True)
RECOGNISED = Metric("recognised", "recognised by a second classifier", higher_is_better=True)
PATH_KL = Metric("path_kl", "KL of the sampling path in nats", log=True)
"""Bounds KL(p_lambda ‖ p_data) from above; see `tasks.finetune.sampling.Samples`."""


class LatentTask(ImageTask):
    """Guided sampling in the latent, rewards on the decoded image."""

    citation = "Xiao et al., ICML 2025, arXiv 2502.08808, application 1"
    metrics: ClassVar[tuple[Metric, ...]] = (REWARD, LOWER_REWARD, FID, PATH_KL, RECOGNISED)
    dataset: ClassVar[str]
    model: LatentDiffusion
    ink_targets: ClassVar[tuple[float, ...]] = (1.5,) * CLASSES
    """Ink that r1 asks of each class, in standard deviations from the pre-trained mean."""
    groups = CLASSES
    samples = 200
    """One trial of any method, and one batch of those that have no trials. Chosen of 100, 200 and
    500 on `finetune/digits-perclass` alone (docs/studies/trial_size.py)."""
    batch = 250

    def setup(self) -> None:
        self.model = networks.load(
            diffusion_name(self.dataset), untrained(self.dataset), self.device
        )
        self.rewards: InkAndRecognition = networks.load(
            rewards_name(self.dataset), InkAndRecognition(), self.device
        )
        self.features = feature_net(self.dataset, "first", self.device)
        self.judge = feature_net(self.dataset, "second", self.device)
        with torch.no_grad():
            images = datasets.load(self.dataset).report.images.to(self.device)
            self.reference = FrechetReference(self.features(images))
        self.targets = torch.tensor(self.ink_targets, device=self.device)
        self.sampler = Sampler()

    def lower(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.rewards.lower(images)

    def upper(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.rewards.upper(images, labels, self.targets[labels])

    @torch.no_grad()
    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        images, labels, path_kl = self.drawn(candidate, self.evaluation_samples, seed)
        rewards = self.settle(self.rate(images, labels))
        judged = self.judge.logits(images).argmax(dim=1)
        return {
            "reward": rewards.upper.mean().item(),
            "lower_reward": rewards.lower.mean().item(),
            "fid": self.reference.distance(self.features(images)).item(),
            "path_kl": path_kl.double().mean().item(),
            "recognised": (judged == labels).double().mean().item(),
        }

    def evaluator(self) -> dict[str, Any]:
        return super().evaluator() | {
            "reference": self.reference_images(),
            "weights": {name: networks.fingerprint(name) for name in self.networks_used()},
        }

    def reference_images(self) -> str:
        """The images that the Fréchet distance is measured to."""
        return f"{self.dataset} report split, {len(datasets.load(self.dataset).report)} images"

    @classmethod
    def networks_used(cls) -> list[str]:
        """Names of the shipped networks that samples and metrics depend on."""
        return [
            diffusion_name(cls.dataset),
            rewards_name(cls.dataset),
            weights_name(cls.dataset, "first"),
            weights_name(cls.dataset, "second"),
        ]


def diffusion_name(dataset: str) -> str:
    """Name of the shipped latent diffusion model of `dataset`."""
    return f"diffusion-{dataset}"


def rewards_name(dataset: str) -> str:
    """Name of the shipped reward classifier and ink statistics of `dataset`."""
    return f"rewards-{dataset}"
