"""The CLIP score (Hessel et al., EMNLP 2021, arXiv 2104.08718) as a reward, differentiable in the
image: 100 times the cosine of the image's and the prompt's embedding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.assets.clip import CLIP


class ClipScore(nn.Module):
    """CLIP score of images with their prompts; each prompt is encoded once."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import CLIPModel, CLIPProcessor

        with CLIP.loading(folder):
            processor: Any = CLIPProcessor.from_pretrained(folder, local_files_only=True)
            model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, weights_only=True)
        self.model = model.float().requires_grad_(False)
        self.tokenizer = processor.tokenizer
        settings = processor.image_processor
        self.size = settings.size["shortest_edge"]
        self.crop = (settings.crop_size["height"], settings.crop_size["width"])
        self.register_buffer("mean", torch.tensor(settings.image_mean)[:, None, None])
        self.register_buffer("scale", torch.tensor(settings.image_std)[:, None, None])
        self._texts: dict[str, Tensor] = {}
        self.eval()

    mean: Tensor
    scale: Tensor

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores `(n,)` in [-100, 100] of images `(n, 3, h, w)` in [0, 1] with the n `prompts`."""
        pooled = self.model.vision_model(pixel_values=self.prepare(images)).pooler_output
        embeddings = F.normalize(self.model.visual_projection(pooled), dim=1)
        texts = torch.stack([self._text(prompt) for prompt in prompts])
        return 100 * (embeddings * texts).sum(dim=1)

    def prepare(self, images: Tensor) -> Tensor:
        """The preprocessing of the model's own processor, differentiable and without rounding to
        8 bits: `(n, 3, crop height, crop width)`."""
        height, width = images.shape[-2:]
        shortest = min(height, width)
        if shortest != self.size:
            target = (height * self.size // shortest, width * self.size // shortest)
            images = F.interpolate(images, target, mode="bicubic", antialias=True).clamp(0, 1)
        height, width = self.crop
        top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
        cropped = images[..., top : top + height, left : left + width]
        return (cropped - self.mean) / self.scale

    @torch.no_grad()
    def _text(self, prompt: str) -> Tensor:
        """Unit embedding `(d,)` of a prompt."""
        if prompt not in self._texts:
            tokens = self.tokenizer([prompt], truncation=True, return_tensors="pt")
            output = self.model.text_model(input_ids=tokens["input_ids"].to(self.mean.device))
            embedding = self.model.text_projection(output.pooler_output)
            self._texts[prompt] = F.normalize(embedding, dim=1)[0]
        return self._texts[prompt]


@cache
def load(folder: Path, device: str) -> ClipScore:
    """The model in `folder`; once per process."""
    return ClipScore(folder).to(device)


def score(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """`ClipScore` of the model that `DTB_CLIP` names, or else of CLIP ViT-B/16 in the local Hugging
    Face cache: a reward for a suite file. Raises FileNotFoundError if it is not there."""
    folder = CLIP.path()
    if folder is None:
        raise FileNotFoundError(CLIP.missing())
    return load(folder, str(images.device))(images, prompts)  # type: ignore[no-any-return]
