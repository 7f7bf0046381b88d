"""Fine-tuning of a text-to-image pipeline with two rewards of images and prompts.

The lower level is this project's sampler over the pipeline's own network with classifier-free
guidance, in its latent space; rewards are taken on the decoded image. Both are standardised on
unguided samples, so that lambda has the unit of the other tasks.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.assets import inception
from tasks.base import Candidate, Metric
from tasks.finetune.base import LOWER_REWARD, REWARD
from tasks.finetune.images import ImageTask
from tasks.finetune.latent import PATH_KL
from tasks.finetune.pipelines.model import PromptedDiffusion, precision
from tasks.finetune.sampling import Sampler
from tasks.metrics.frechet import FrechetReference
from tasks.metrics.inception import InceptionFeatures

Reward = Callable[[Tensor, Sequence[str]], Tensor]
"""Values `(n,)` of images `(n, 3, height, width)` in [0, 1] that n prompts asked for; higher is
better, in any unit."""

CLIP_AT = 100.0
"""Predicted clean latents are kept in [-100, 100]. A pre-trained model does not get there: at the
first step, where the signal share is 0.0047, even a network that saw no noise at all would predict
|x| / sqrt(0.0047), below 75 for |x| < 5. It only ends what guidance at a tiny lambda starts."""
REFERENCE_SEED = 0
RAW = Metric("raw_reward", "r1 in its own unit", higher_is_better=True)
FID = Metric("fid", "FID (Inception) to the pre-trained model", log=True)


@dataclass(frozen=True)
class Reference:
    """Statistics of the pre-trained model's own samples."""

    upper: tuple[float, float]
    """Mean and standard deviation of r1."""
    lower: tuple[float, float]
    """Mean and standard deviation of r2."""
    features: FrechetReference | None


class PipelineTask(ImageTask):
    """Guided sampling of a pipeline, whatever it, its prompts and its rewards are."""

    citation = "Xiao et al., ICML 2025, arXiv 2502.08808, application 1"
    raw: ClassVar[Metric] = RAW
    """E[r1] as the reward gives it, not standardised."""
    metrics: ClassVar[tuple[Metric, ...]] = (REWARD, LOWER_REWARD, RAW, PATH_KL)
    """FID is added where the Inception file is provided."""
    prompts: ClassVar[tuple[str, ...]]
    batch = 5
    samples = 100
    evaluation_samples = 250
    reference_samples: ClassVar[int] = 500
    """Unguided samples that rewards are standardised on and FID is measured to."""
    steps: ClassVar[int] = 25
    budget = 2.0
    model: PromptedDiffusion
    r1: Reward
    r2: Reward

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        if inception.provided() is not None:
            self.metrics = (*self.metrics, FID)  # type: ignore[misc]
        self._asked: tuple[Tensor, list[str]] | None = None

    @abstractmethod
    def load(self) -> None:
        """Set `model`, `r1` and `r2`."""

    @abstractmethod
    def weights(self) -> dict[str, str]:
        """Identity of the parameters and rewards, by name."""

    def setup(self) -> None:
        """Load the models, then measure the pre-trained one: minutes on a GPU, once per
        process."""
        self.load()
        file = inception.provided()
        self.features = _inception(file, self.device) if file else None
        self.sampler = Sampler(self.steps, clip=CLIP_AT, signal=self.model.signal)
        identity = json.dumps([self.device, self.batch, self.identity()])
        if identity not in _references:
            _references[identity] = self._measure()
        self.reference = _references[identity]

    def lower(self, images: Tensor, labels: Tensor) -> Tensor:
        mean, scale = self.reference.lower
        return (self.r2((images + 1) / 2, self.asked(labels)) - mean) / scale

    def upper(self, images: Tensor, labels: Tensor) -> Tensor:
        mean, scale = self.reference.upper
        return (self.r1((images + 1) / 2, self.asked(labels)) - mean) / scale

    def asked(self, labels: Tensor) -> list[str]:
        """The prompts numbered `labels`. Read from the device once, not in every guided step."""
        if self._asked is None or self._asked[0] is not labels:
            self._asked = labels, [self.prompts[label] for label in labels.cpu().tolist()]
        return self._asked[1]

    @torch.no_grad()
    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        drawn = self.drawn(candidate, self.evaluation_samples, seed)
        rewards = self._scored(drawn)
        reward = rewards.upper.double().mean().item()
        mean, scale = self.reference.upper
        values = {
            "reward": reward,
            "lower_reward": rewards.lower.double().mean().item(),
            self.raw.name: mean + scale * reward,
            "path_kl": drawn.path_kl.double().mean().item(),
        }
        features = self.inception_features(drawn.images)
        if features is not None and self.reference.features is not None:
            values["fid"] = self.reference.features.distance(features).item()
        return values

    def inception_features(self, images: Tensor) -> Tensor | None:
        """Features `(n, 2048)` of images `(n, 3, h, w)`; None without the Inception weights."""
        if self.features is None:
            return None
        return torch.cat([self.features(part) for part in torch.split(images, self.batch)])

    def identity(self) -> dict[str, Any]:
        """Everything that decides what is generated and how it is rated."""
        fid = "Inception features, clean-fid" if self.features else "not measured: no DTB_INCEPTION"
        return {
            "reference": f"{self.reference_samples} unguided samples, seed {REFERENCE_SEED}",
            "fid": fid,
            "prompts": list(self.prompts),
            "guidance_scale": self.model.guidance_scale,
            "steps": self.steps,
            "precision": str(precision(self.device)).removeprefix("torch."),
            "weights": self.weights(),
        }

    def evaluator(self) -> dict[str, Any]:
        return super().evaluator() | self.identity()

    @torch.no_grad()
    def _measure(self) -> Reference:
        """Draw and rate unguided samples; not charged. Raises ValueError for a reward that cannot
        be standardised."""
        images, labels, _ = self.draw(None, self.reference_samples, REFERENCE_SEED)
        parts = list(
            zip(torch.split(images, self.batch), torch.split(labels, self.batch), strict=True)
        )
        found = {
            role: _statistics(
                role,
                torch.cat([reward((part + 1) / 2, self.asked(group)) for part, group in parts]),
            )
            for role, reward in (("r1", self.r1), ("r2", self.r2))
        }
        features = self.inception_features(images)
        reference = None if features is None else FrechetReference(features)
        return Reference(found["r1"], found["r2"], reference)


_references: dict[str, Reference] = {}
"""What was measured in this process, by the identity of what it was measured on."""


def _statistics(role: str, values: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of a reward. Raises ValueError if they are of no use."""
    mean, deviation = values.double().mean().item(), values.double().std().item()
    if not values.isfinite().all():
        count = int((~values.isfinite()).sum())
        raise ValueError(f"{role} is not finite for {count} of {len(values)} unguided images")
    if not deviation > 0:
        raise ValueError(f"{role} is {mean:g} for all of {len(values)} unguided images")
    return mean, deviation


@cache
def _inception(file: Path, device: str) -> InceptionFeatures:
    return InceptionFeatures(file, device)
