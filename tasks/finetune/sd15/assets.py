"""Where the pre-trained models of the Stable Diffusion task lie on this machine.

Each is named by an environment variable, or found where its own tools keep it: the local Hugging
Face cache, torch's folder of checkpoints. See docs/your-data-and-models.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tasks.assets import inception
from tasks.assets.asset import UNKNOWN, beside
from tasks.assets.clip import CLIP
from tasks.assets.pretrained import Part, Repository, fingerprint, lacking_library

GUIDE = "docs/your-data-and-models.md"


@dataclass(frozen=True)
class ResNet(Part):
    """ResNet-18 as torchvision publishes it, in torch's folder of checkpoints."""

    hashes = "SHA-256, as far as the file's name holds it"
    command = (
        "python -c \"from torchvision.models import resnet18; resnet18(weights='IMAGENET1K_V1')\""
    )

    def locate(self) -> Path | None:
        files = (Path(self.value).expanduser(), self.home() / self.value)
        return next(filter(Path.is_file, files), None)

    def obtain(self) -> None:
        from tasks.diffusion import torchvision_shim  # loads torch

        torchvision_shim.ensure()
        from torchvision.models import ResNet18_Weights

        place = self.home() / self.default
        with beside(place) as temporary:
            ResNet18_Weights.IMAGENET1K_V1.get_state_dict(model_dir=str(temporary), check_hash=True)
            (temporary / self.default).replace(place)

    def home(self) -> Path:
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        home = Path(os.environ.get("TORCH_HOME") or Path(caches, "torch")).expanduser()
        return home / "hub" / "checkpoints"


PIPELINE = Repository(
    title="Stable Diffusion 1.5",
    variable="DTB_SD15",
    default="stable-diffusion-v1-5/stable-diffusion-v1-5",
    licence="CreativeML OpenRAIL-M, with restrictions on use",
    size="4.3 GB",
    patterns=(
        "*.json",
        "*.txt",
        "text_encoder/model.safetensors",
        "*/diffusion_pytorch_model.safetensors",
    ),
    needed=(
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json|tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
    ),
)
RESNET = ResNet(
    title="ResNet-18, resnet18-f37072fd.pth",
    variable="DTB_RESNET18",
    default="resnet18-f37072fd.pth",
    licence=f"{UNKNOWN}; torchvision: perhaps terms of the data it was trained on, ImageNet",
    size="47 MB",
)
PARTS: tuple[Part, ...] = (PIPELINE, CLIP, RESNET)


@dataclass(frozen=True)
class Paths:
    """Where all parts lie."""

    pipeline: Path
    clip: Path
    resnet: Path
    inception: Path | None
    """None: FID is not measured."""


def unavailable() -> str | None:
    """All missing parts and how to get them, in one line; None if all are there. Loads nothing."""
    if lacking := lacking_library():
        return lacking
    missing = [*(part.missing() for part in PARTS), inception.missing()]
    wanted = [line for line in missing if line]
    return "; ".join([*wanted, f"see {GUIDE}"]) if wanted else None


def find() -> Paths:
    """Paths of all parts. Raises FileNotFoundError with what `unavailable` says."""
    pipeline, clip, resnet = (part.path() for part in PARTS)
    reason = unavailable()
    if reason is not None or pipeline is None or clip is None or resnet is None:
        raise FileNotFoundError(reason)
    return Paths(pipeline, clip, resnet, inception.provided())


def fingerprints() -> dict[str, str]:
    """Identity of each part: 12 hex digits of a SHA-256, read once per process.

    Takes seconds for the real parameters, which are gigabytes.
    """
    found = {part.variable: part.parameter_files() for part in PARTS}
    file = inception.provided()
    if file is not None:
        found[inception.VARIABLE] = (file,)
    return {variable: fingerprint(files) for variable, files in found.items()}
