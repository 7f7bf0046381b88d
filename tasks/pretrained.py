"""Pre-trained models that tasks rely on: shipped as package data, made again by a command.

The shipped file is part of the benchmark: every machine scores with the same feature
networks and fine-tunes the same pre-trained model, named by the hash of the file's content.
`python -m tasks.pretrain NAME` runs the recipe that made a file. Weights trained on data that
the user provides cannot be shipped: they are made once and kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

WEIGHTS = Path(__file__).parent / "weights"
MADE_HERE = Path(user_cache_path(appname="diffusion-tuning-benchmark")) / "weights"

Model = TypeVar("Model", bound=torch.nn.Module)


def path(name: str) -> Path:
    """Where the weights called `name` are shipped or, failing that, kept after being made."""
    shipped, made = (folder / f"{name}.safetensors" for folder in (WEIGHTS, MADE_HERE))
    return made if made.exists() and not shipped.exists() else shipped


@cache
def fingerprint(name: str) -> str:
    """Identity of the weights called `name`: 12 hex digits of the file's SHA-256."""
    return hashlib.sha256(path(name).read_bytes()).hexdigest()[:12]


def load(name: str, model: Model, device: str = "cpu") -> Model:
    """Fill `model` with the weights called `name`; frozen, in evaluation mode.

    Raises FileNotFoundError when the file is missing, and ValueError when it is damaged or holds
    another model, both with the command that makes it.
    """
    file = path(name)
    remedy = f"make it again with: python -m tasks.pretrain {name}"
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing; {remedy}")
    try:
        model.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{file} does not hold the weights of {name} ({reason}); {remedy}"
        ) from None
    return model.to(device).eval().requires_grad_(False)


def save(name: str, model: torch.nn.Module, folder: Path = WEIGHTS, **metadata: str) -> Path:
    """Write the weights of `model` under `name`, with `metadata` (how it was made)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous().cpu() for key, value in model.state_dict().items()}
    file = folder / f"{name}.safetensors"
    save_file(tensors, file, metadata=metadata)
    return file
