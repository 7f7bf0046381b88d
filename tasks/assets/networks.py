"""Pre-trained networks that tasks rely on: shipped as package data, made again by a command.

A shipped file is part of the benchmark: every machine scores with the same feature networks and
fine-tunes the same pre-trained model, identified by the hash of the file.
`python -m tasks.make.pretrain NAME` runs the recipe that made a file. Networks trained on data
that the user provides cannot be shipped: they are made once and kept in the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from tasks.assets.asset import Asset, beside, digest

SHIPPED = Path(__file__).parents[1] / "networks"
MADE_HERE = Path(user_cache_path(appname="diffusion-tuning-benchmark")) / "weights"

Model = TypeVar("Model", bound=torch.nn.Module)


def path(name: str) -> Path:
    """Where the network called `name` is shipped or, failing that, kept after being made."""
    packaged, made = (folder / f"{name}.safetensors" for folder in (SHIPPED, MADE_HERE))
    return made if made.exists() and not packaged.exists() else packaged


def shipped(name: str) -> bool:
    """Whether the network called `name` is part of the package."""
    return (SHIPPED / f"{name}.safetensors").exists()


def asset(names: tuple[str, ...]) -> Asset:
    """Networks made once on this machine, from data that is here already."""
    return Asset(
        name=" and ".join(names),
        place=str(MADE_HERE),
        remedy=_recipe(names),
        missing=partial(_missing, names),
        damage=partial(_damage, names),
        fetch=partial(_make, names),
        licence="that of the data they are trained on",
        hashes="none: every machine makes its own",
    )


def _recipe(names: Sequence[str]) -> str:
    return f"python -m tasks.make.pretrain {' '.join(names)}"


def _missing(names: Sequence[str]) -> str | None:
    missing = [name for name in names if not path(name).exists()]
    return f"feature networks are missing: run `{_recipe(missing)}`" if missing else None


def _damage(names: Sequence[str]) -> str | None:
    for name in names:
        reason = damage(path(name))
        if reason:
            return f"{reason}; make it again: {_recipe([name])}"
    return None


def _make(names: Sequence[str]) -> None:
    from tasks.make import pretrain

    for name in names:
        if not path(name).exists() or damage(path(name)):
            pretrain.make(name)


def damage(file: Path) -> str | None:
    """That a safetensors file is truncated or something else; None if it is whole."""
    try:
        with safe_open(file, framework="numpy"):
            return None
    except (SafetensorError, OSError) as error:
        return f"{file} is not a whole safetensors file ({error})"


@cache
def fingerprint(name: str) -> str:
    """Identity of the network called `name`: 12 hex digits of the file's SHA-256."""
    return digest(path(name), "sha256")[:12]


def load(name: str, model: Model, device: str = "cpu") -> Model:
    """Fill `model` with the parameters called `name`; frozen, in evaluation mode.

    Raises FileNotFoundError when the file is missing, and ValueError when it is damaged or holds
    another model, both with the command that makes it.
    """
    file = path(name)
    remedy = f"make it again with: {_recipe([name])}"
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing; {remedy}")
    try:
        model.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{file} does not hold the parameters of {name} ({reason}); {remedy}"
        ) from None
    return model.to(device).eval().requires_grad_(False)


def save(name: str, model: torch.nn.Module, folder: Path = SHIPPED, **metadata: str) -> Path:
    """Write the parameters of `model` under `name`, with `metadata` (how it was made)."""
    tensors = {key: value.contiguous().cpu() for key, value in model.state_dict().items()}
    file = folder / f"{name}.safetensors"
    with beside(file) as temporary:
        save_file(tensors, temporary / file.name, metadata=metadata)
        (temporary / file.name).replace(file)
    return file
