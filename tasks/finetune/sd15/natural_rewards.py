"""Rewards of natural images: agreement with the prompt, and a synthetic one to be tilted by.

r1 is the CLIP score (Hessel et al., EMNLP 2021, arXiv 2104.08718), 100 times the cosine of the
image's and the prompt's embedding. r2 is the paper's kind of synthetic reward (after Yuan et
al., arXiv 2404.14743): a random linear function of the features of an ImageNet classifier.
Both are differentiable in the image; neither is standardised here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.diffusion import torchvision_shim
from tasks.finetune.sd15.assets import CLIP

RESNET_SIZE = 224
RESNET_MEAN = (0.485, 0.456, 0.406)
RESNET_SCALE = (0.229, 0.224, 0.225)
HEAD_SEED = 0


class ClipScore(nn.Module):
    """CLIP score of images with one of a fixed list of prompts."""

    def __init__(self, folder: Path, prompts: Sequence[str]) -> None:
        super().__init__()
        from transformers import CLIPModel, CLIPProcessor

        with CLIP.loading(folder):
            processor: Any = CLIPProcessor.from_pretrained(folder, local_files_only=True)
            model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, weights_only=True)
        model = model.float().eval().requires_grad_(False)
        settings = processor.image_processor
        self.size = settings.size["shortest_edge"]
        self.crop = (settings.crop_size["height"], settings.crop_size["width"])
        self.vision = model.vision_model
        self.projection = model.visual_projection
        self.register_buffer("mean", torch.tensor(settings.image_mean)[:, None, None])
        self.register_buffer("scale", torch.tensor(settings.image_std)[:, None, None])
        self.register_buffer("texts", _text_embeddings(model, processor.tokenizer, prompts))

    mean: Tensor
    scale: Tensor
    texts: Tensor
    """Unit embeddings of the prompts, `(prompts, d)`."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Scores `(n,)` in [-100, 100] of images `(n, 3, h, w)` in [-1, 1] with the prompts
        numbered `labels` `(n,)`."""
        pooled = self.vision(pixel_values=self.prepare(images)).pooler_output
        embeddings = F.normalize(self.projection(pooled), dim=1)
        return 100 * (embeddings * self.texts[labels]).sum(dim=1)

    def prepare(self, images: Tensor) -> Tensor:
        """The preprocessing of the model's own processor, differentiable and without rounding to
        8 bits: `(n, 3, crop height, crop width)`."""
        pixels = (images + 1) / 2
        height, width = pixels.shape[-2:]
        shortest = min(height, width)
        if shortest != self.size:
            target = (height * self.size // shortest, width * self.size // shortest)
            pixels = F.interpolate(pixels, target, mode="bicubic", antialias=True).clamp(0, 1)
        height, width = self.crop
        top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
        cropped = pixels[..., top : top + height, left : left + width]
        return (cropped - self.mean) / self.scale


@torch.no_grad()
def _text_embeddings(model: Any, tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    tokens = tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
    output = model.text_model(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
    )
    return F.normalize(model.text_projection(output.pooler_output), dim=1)


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

    def forward(self, images: Tensor) -> Tensor:
        """Values `(n,)` of images `(n, 3, h, w)` in [-1, 1]; large ones are reduced first."""
        pixels = (images + 1) / 2
        if min(pixels.shape[-2:]) > RESNET_SIZE:
            size = (RESNET_SIZE, RESNET_SIZE)
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
        features: Tensor = self.network((pixels - self.mean) / self.scale)
        return features @ self.direction
