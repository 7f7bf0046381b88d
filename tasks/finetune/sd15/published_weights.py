"""Published weights in the caches of their own tools: where they lie, whether they are whole.

Fetching them is left to these tools as well: huggingface_hub and torch.hub.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tasks.assets.asset import beside, wrong_hash

RESNET_FILE = "resnet18-f37072fd.pth"


def cached_repository(value: str) -> Path | None:
    """A folder, or the snapshot of a repository in the local Hugging Face cache."""
    folder = Path(value).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(str(snapshot_download(value, local_files_only=True)))
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def torch_checkpoint(value: str) -> Path | None:
    """A file, or one of that name in torch's folder of checkpoints."""
    for file in (Path(value).expanduser(), checkpoints() / value):
        if file.is_file():
            return file
    return None


def checkpoints() -> Path:
    """Torch's folder of checkpoints."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("TORCH_HOME") or Path(caches, "torch")).expanduser()
    return home / "hub" / "checkpoints"


def repositories() -> Path:
    """The local Hugging Face cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def fetch_repository(name: str, patterns: Sequence[str]) -> None:
    """Bring the files of a repository that match into the local Hugging Face cache.

    Where one that is there is damaged, all are fetched again. The cache shows a file once it is
    whole.
    """
    from huggingface_hub import snapshot_download

    found = cached_repository(name)
    damaged = found is not None and any(map(damage, filter(Path.is_file, found.rglob("*"))))
    snapshot_download(name, allow_patterns=list(patterns), force_download=damaged)


def fetch_resnet() -> None:
    """Bring ResNet-18 into torch's folder of checkpoints, through torchvision."""
    from tasks.diffusion import torchvision_shim  # loads torch

    torchvision_shim.ensure()
    from torchvision.models import ResNet18_Weights

    place = checkpoints() / RESNET_FILE
    with beside(place) as temporary:
        ResNet18_Weights.IMAGENET1K_V1.get_state_dict(model_dir=str(temporary), check_hash=True)
        (temporary / RESNET_FILE).replace(place)


def damage(file: Path) -> str | None:
    """What shows that a file is not whole: its hash where a name holds it, or its format."""
    blob = file.resolve().name  # the Hugging Face cache names large files by their SHA-256
    named = re.search(r"-([0-9a-f]{8})\.pth$", file.name)  # and torch.hub by its beginning
    expected = blob if re.fullmatch("[0-9a-f]{64}", blob) else named and named[1]
    if expected:
        return wrong_hash(file, "sha256", expected)
    try:
        if file.suffix == ".json":
            json.loads(file.read_bytes())
        elif file.suffix == ".safetensors":
            with safe_open(file, framework="numpy"):
                pass
    except (ValueError, SafetensorError) as error:
        return f"{file} is damaged ({error})"
    return None
