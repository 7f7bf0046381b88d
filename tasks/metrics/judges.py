"""A feature space of the user's choice for the first reported distance of a task on own pictures.

A choice is `"imagenet"` (EfficientNet-Lite0, `tasks.metrics.spaces`), `"inception"` (the network
of FID, from a file that the user provides, as clean-fid measures it), or a function

    features(images)    # (n, channels, side, side) in [-1, 1], float32, on the task's device
                        # -> a tensor (n, d), for instance of DINOv2 with weights of the user
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.assets import inception
from tasks.assets.asset import digest
from tasks.metrics import spaces
from tasks.metrics.inception import InceptionFeatures
from tasks.metrics.spaces import FeatureSpace

Choice = str | Callable[[Tensor], Any]
PROBES = 2
"""Random images that a function is tried on before anything is spent."""


def name(choice: Choice) -> str:
    """The space's name in metrics: `imagenet`, `inception` or `own`. Raises ValueError."""
    if callable(choice):
        return "own"
    if choice not in ("imagenet", "inception"):
        raise ValueError(f"`judge` must be 'imagenet', 'inception' or a function, got {choice!r}")
    return choice


def load(choice: Choice, device: str) -> FeatureSpace:
    """The space. Raises ValueError if it cannot be had here."""
    if callable(choice):
        return FeatureSpace("own", lambda images: _checked(choice, images), _identity(choice))
    if choice == "inception":
        file = inception.provided()
        if file is None:
            raise ValueError("judge = 'inception': " + inception.asset().remedy)
        network = InceptionFeatures(file, device)
        return FeatureSpace(
            "inception", lambda images: network(images.expand(-1, 3, -1, -1)), inception.SHA256[:12]
        )
    found = spaces.imagenet(device)
    if found is None:
        raise ValueError("judge = 'imagenet' needs the extra: pip install '.[imagenet]'")
    return found


def problem(choice: Choice, channels: int, side: int) -> str | None:
    """Why it cannot be used on such images, in one line, after a trial; None if it can."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(PROBES, channels, side, side, generator=generator) * 2 - 1
    try:
        features = load(choice, "cpu").embed(images)
    except Exception as error:  # the user's code raises anything
        said = " ".join(str(error).split())
        return said if isinstance(error, ValueError) else f"judge: {type(error).__name__}: {said}"
    return None if features.isfinite().all() else "judge gave features that are not finite"


def _checked(function: Callable[[Tensor], Any], images: Tensor) -> Tensor:
    features = function(images)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"judge must give a tensor ({len(images)}, features), gave {shape}")
    return features.float()


def _identity(function: Callable[[Tensor], Any]) -> str:
    """Hash of the file that defines it, of its weights nothing; `unknown` in a notebook."""
    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    return digest(Path(file), "sha256")[:12] if file else "unknown"
