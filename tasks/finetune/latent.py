"""Fine-tuning tasks on the shipped latent diffusion models."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tasks import data, pretrained
from tasks.base import Candidate, Metric
from tasks.finetune.base import LOWER_REWARD, REWARD, FinetuneTask, strengths
from tasks.finetune.models import CLASSES, LatentDiffusion, untrained
from tasks.finetune.rewards import InkAndRecognition, Rewards
from tasks.finetune.sampling import LogTilt, Sampler
from tasks.metrics.features import feature_net, weights_name
from tasks.metrics.frechet import FrechetReference
from tasks.space import Params

FID = Metric("fid", "FID (task features)", log=True)
RECOGNISED = Metric("recognised", "recognised by a second classifier", higher_is_better=True)


class LatentTask(FinetuneTask):
    """Guided sampling in the latent, rewards on the decoded image.

    The classes asked for cycle through the ten digits, so every count of samples is balanced.
    """

    citation = "Xiao et al., ICML 2025, arXiv 2502.08808, application 1"
    metrics = (REWARD, LOWER_REWARD, FID, RECOGNISED)
    dataset: ClassVar[str]
    ink_targets: ClassVar[tuple[float, ...]] = (1.5,) * CLASSES
    """Ink that r1 asks of each class, in standard deviations from the pre-trained mean."""
    batch: ClassVar[int] = 250
    """Samples per primitive step."""

    def setup(self) -> None:
        self.model: LatentDiffusion = pretrained.load(
            diffusion_name(self.dataset), untrained(self.dataset), self.device
        )
        self.rewards: InkAndRecognition = pretrained.load(
            rewards_name(self.dataset), InkAndRecognition(), self.device
        )
        self.features = feature_net(self.dataset, "first", self.device)
        self.judge = feature_net(self.dataset, "second", self.device)
        with torch.no_grad():
            images = data.load(self.dataset).report.images.to(self.device)
            self.reference = FrechetReference(self.features(images))
        self.sampler = Sampler()

    def pool(self, count: int, seed: int) -> Rewards:
        return self._scored(None, count, seed)

    def guided(self, params: Params, count: int, seed: int) -> Rewards:
        return self._scored(params, count, seed)

    @torch.no_grad()
    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        images, labels = self.draw(candidate.params, self.evaluation_samples, seed)
        rewards = self._rate(images, labels)
        judged = self.judge.logits(images).argmax(dim=1)
        return {
            "reward": rewards.upper.mean().item(),
            "lower_reward": rewards.lower.mean().item(),
            "fid": self.reference.distance(self.features(images)).item(),
            "recognised": (judged == labels).double().mean().item(),
        }

    def evaluator(self) -> dict[str, Any]:
        names = [
            diffusion_name(self.dataset),
            rewards_name(self.dataset),
            weights_name(self.dataset, "first"),
            weights_name(self.dataset, "second"),
        ]
        reference = len(data.load(self.dataset).report)
        return super().evaluator() | {
            "reference": f"{self.dataset} report split, {reference} images",
            "weights": {name: pretrained.fingerprint(name) for name in names},
        }

    def images(self, candidate: Candidate, count: int, seed: int) -> np.ndarray:
        images, _ = self.draw(candidate.params, count, seed)
        pixels: np.ndarray = ((images[:, 0] + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        return pixels

    def draw(self, params: Params | None, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Images `(count, 1, h, w)` in [-1, 1] of the model guided at `params` (None: as it
        was pre-trained), and the labels `(count,)` they were asked to show."""
        generator = self.generator(seed)
        labels = torch.arange(count, device=self.device) % CLASSES
        parts = []
        for part in torch.split(labels, self.batch):
            tilt = None if params is None else self._log_tilt(params, part)
            parts.append(self.model.sample(part, self.sampler, generator, tilt, self.meter))
        return torch.cat(parts), labels

    def _log_tilt(self, params: Params, labels: Tensor) -> LogTilt:
        """r2 / lambda, with the sample's own lambda if there is one per class."""
        strength = strengths(params).to(self.device)
        if len(strength) > 1:
            strength = strength[labels]
        return lambda images: self.rewards.lower(images) / strength

    def _rate(self, images: Tensor, labels: Tensor) -> Rewards:
        targets = torch.tensor(self.ink_targets, device=self.device)
        rewards: Rewards = self.rewards(images, labels, targets[labels])
        return rewards

    def _scored(self, params: Params | None, count: int, seed: int) -> Rewards:
        images, labels = self.draw(params, count, seed)
        parts = []
        for image, label in zip(
            torch.split(images, self.batch), torch.split(labels, self.batch), strict=True
        ):
            with self.meter.charge("reward", len(image), scored_images=len(image)):
                parts.append(self._rate(image, label))
        return Rewards.concatenate(parts)


def diffusion_name(dataset: str) -> str:
    """Name of the shipped latent diffusion model of `dataset`."""
    return f"diffusion-{dataset}"


def rewards_name(dataset: str) -> str:
    """Name of the shipped reward classifier and ink statistics of `dataset`."""
    return f"rewards-{dataset}"
