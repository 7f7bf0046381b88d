"""Tiny untrained pipelines of each supported kind, and the reward models of Stable Diffusion 1.5,
in the layout of the real ones, for tests and measurements that cannot rely on gigabytes."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch

from tasks.diffusion import torchvision_shim
from tasks.finetune.pipelines.model import no_progress_bars

SPECIAL = ("<|startoftext|>", "<|endoftext|>")
CHARACTERS = string.ascii_lowercase
WIDTH = 32
TOKENS = 77


def save(folder: Path, seed: int = 0, true_size: bool = False) -> dict[str, str]:
    """Write all parts under `folder`; returns the environment variables that name them.

    Latents are 4 x 8 x 8, images 3 x 16 x 16. With `true_size` network and decoder are those of
    Stable Diffusion 1.5, latents 4 x 64 x 64 and images 3 x 512 x 512; some 4 GB.
    """
    torchvision_shim.ensure()
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), no_progress_bars():
        torch.manual_seed(seed)
        _pipeline(folder / "pipeline", true_size, {"attention_head_dim": 8})
        _clip(folder / "clip")
        _resnet(folder / "resnet.pth")
    return {
        "DTB_SD15": str(folder / "pipeline"),
        "DTB_CLIP": str(folder / "clip"),
        "DTB_RESNET18": str(folder / "resnet.pth"),
    }


def save_kind(folder: Path, kind: str, seed: int = 0) -> Path:
    """Write a tiny pipeline alone: `sd1`, `sd2` (predicts v) or `sdxl`; returns its folder."""
    torchvision_shim.ensure()
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), no_progress_bars():
        torch.manual_seed(seed)
        if kind == "sdxl":
            _xl_pipeline(folder / kind)
        elif kind == "sd2":
            linear = {"use_linear_projection": True, "attention_head_dim": (4, 8)}
            _pipeline(folder / kind, False, linear, "v_prediction")
        else:
            _pipeline(folder / kind, False, {"attention_head_dim": 8})
    return folder / kind


def _pipeline(
    folder: Path, true_size: bool, settings: dict[str, Any], predicts: str = "epsilon"
) -> None:
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    text_width = 768 if true_size else WIDTH
    maps = (128, 256, 512, 512) if true_size else (WIDTH,) * 2
    unet: dict[str, Any] = settings | {"cross_attention_dim": text_width}
    if true_size:
        unet["sample_size"] = 64
    else:
        unet |= _tiny_unet()
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(maps),
            up_block_types=("UpDecoderBlock2D",) * len(maps),
            block_out_channels=maps,
            layers_per_block=2 if true_size else 1,
            latent_channels=4,
            sample_size=512 if true_size else 16,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(**_text_settings() | {"hidden_size": text_width})
        ),
        tokenizer=_tokenizer(folder.parent / "tokenizer"),
        unet=UNet2DConditionModel(**unet),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type=predicts,
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def _xl_pipeline(folder: Path) -> None:
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = _tokenizer(folder.parent / "tokenizer")
    text = CLIPTextConfig(**_text_settings(), projection_dim=WIDTH)
    StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(WIDTH,) * 2,
            layers_per_block=1,
            latent_channels=4,
            sample_size=16,
            scaling_factor=0.13025,
        ),
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel(
            **_tiny_unet(),
            attention_head_dim=(2, 4),
            cross_attention_dim=2 * WIDTH,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        add_watermarker=False,
    ).save_pretrained(folder)


def _tiny_unet() -> dict[str, Any]:
    return {
        "sample_size": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "block_out_channels": (WIDTH, 2 * WIDTH),
        "layers_per_block": 1,
    }


def _clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 12,
        "patch_size": 4,
    }
    model = CLIPModel(
        CLIPConfig(text_config=_text_settings(), vision_config=vision, projection_dim=16)
    )
    model.save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12})
    CLIPProcessor(images, _tokenizer(folder.parent / "tokenizer")).save_pretrained(folder)


def _resnet(file: Path) -> None:
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), file)


def _text_settings() -> dict[str, int]:
    return {
        "vocab_size": len(_vocabulary()),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": TOKENS,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }


def _tokenizer(folder: Path):
    """One token per letter."""
    from transformers import CLIPTokenizer

    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(_vocabulary()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"model_max_length": TOKENS, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def _vocabulary() -> dict[str, int]:
    tokens = [*SPECIAL, *CHARACTERS, *(letter + "</w>" for letter in CHARACTERS)]
    return {token: number for number, token in enumerate(tokens)}
