"""CLIP as OpenAI published it: the model of the CLIP score."""

from __future__ import annotations

from tasks.assets.asset import UNKNOWN
from tasks.assets.pretrained import Repository

CLIP = Repository(
    title="CLIP",
    variable="DTB_CLIP",
    default="openai/clip-vit-base-patch16",
    licence=f"{UNKNOWN}; MIT is that of the code which it was released with",
    size="0.6 GB",
    patterns=("*.json", "*.txt", "model.safetensors", "pytorch_model.bin"),
    needed=(
        "config.json",
        "preprocessor_config.json|processor_config.json",
        "tokenizer.json|vocab.json",
        "model.safetensors|pytorch_model.bin",
    ),
)
