"""Fine-tuning of Stable Diffusion 1.5: the task of the paper, on weights the user provides.

r1 is the CLIP score, r2 a random function of an ImageNet classifier. What to fetch, what it costs
and what is assumed of the device stands in docs/your-data-and-models.md.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import ClassVar

from tasks.assets import inception
from tasks.assets.asset import Asset
from tasks.base import Metric
from tasks.finetune.base import LOWER_REWARD, REWARD, per_group
from tasks.finetune.latent import PATH_KL
from tasks.finetune.pipelines import clip, model
from tasks.finetune.pipelines.folder import PipelineFolder
from tasks.finetune.pipelines.task import PipelineTask
from tasks.finetune.sd15 import assets
from tasks.finetune.sd15.random_head import RandomHead

PROMPTS = (
    "a fox",
    "a horse",
    "a rabbit",
    "a horse standing on lush green grass",
    "a beautiful landscape",
)
"""Animals and a landscape, the kind of prompts that the paper shows."""
GUIDANCE_SCALE = 7.5
"""Classifier-free guidance (arXiv 2207.12598) towards the prompt: the pipeline's default."""
CLIP_SCORE = Metric("clip", "CLIP score", higher_is_better=True)


class FinetuneStableDiffusion(PipelineTask):
    """Look like the prompt while being tilted by another reward: one entropy strength."""

    name = "finetune/sd15"
    description = "Entropy strength of reward-guided sampling, Stable Diffusion 1.5"
    raw = CLIP_SCORE
    metrics: ClassVar[tuple[Metric, ...]] = (REWARD, LOWER_REWARD, CLIP_SCORE, PATH_KL)
    prompts = PROMPTS
    groups = len(PROMPTS)

    @classmethod
    def assets(cls) -> tuple[Asset, ...]:
        return (*(part.asset() for part in assets.PARTS), inception.asset())

    @classmethod
    def unavailable(cls) -> str | None:
        return assets.unavailable()

    def load(self) -> None:
        found = assets.find()
        folder = PipelineFolder(found.pipeline)
        with assets.PIPELINE.loading(found.pipeline):
            self.model = model.load(folder, PROMPTS, GUIDANCE_SCALE, self.batch, self.device)
        with model.no_progress_bars():
            self.r1 = clip.load(found.clip, self.device)
            self.r2 = _random_head(found.resnet, self.device)

    def weights(self) -> dict[str, str]:
        return assets.fingerprints()


class FinetuneStableDiffusionPerPrompt(FinetuneStableDiffusion):
    """One entropy strength per prompt."""

    name = "finetune/sd15-perprompt"
    description = "Entropy strengths of reward-guided Stable Diffusion 1.5, one per prompt"
    space = per_group(len(PROMPTS))


@cache
def _random_head(file: Path, device: str) -> RandomHead:
    return RandomHead(file).to(device)
