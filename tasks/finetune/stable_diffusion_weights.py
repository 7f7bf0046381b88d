"""Where the weights of the Stable Diffusion task lie on this machine; nothing is downloaded.

Each part is named by an environment variable, or found where its own tools keep it: the local
Hugging Face cache, torch's folder of checkpoints. See docs/stable-diffusion.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

GUIDE = "docs/stable-diffusion.md"
RESNET_FILE = "resnet18-f37072fd.pth"


@dataclass(frozen=True)
class Part:
    """One of the pre-trained models the task needs."""

    title: str
    variable: str
    """Environment variable with a path, or with the name of a repository in the local cache."""
    default: str
    """What the variable holds if it is not set."""
    files: tuple[str, ...]
    """What a folder must hold; `a|b` means either. Empty where the part is a single file."""
    fetch: str
    """Command that puts the part where `default` is looked for."""
    locate: Callable[[str], Path | None]
    """The folder or file that a value of the variable stands for; None if there is none."""

    @property
    def value(self) -> str:
        return os.environ.get(self.variable) or self.default

    def path(self) -> Path | None:
        """Where the part lies, or None if it is not there or not whole."""
        found = self.locate(self.value)
        return None if found is None or self.lacking(found) else found

    def lacking(self, folder: Path) -> str:
        """The first file missing in `folder`, or an empty string."""
        for names in self.files:
            if not any((folder / name).is_file() for name in names.split("|")):
                return names.replace("|", " or ")
        return ""

    def weight_files(self) -> tuple[Path, ...]:
        """The files that hold numbers, in order; empty if the part is not there."""
        path = self.path()
        if path is None:
            return ()
        if not self.files:
            return (path,)
        names = [name for names in self.files for name in names.split("|")]
        files = [path / name for name in names if name.endswith((".safetensors", ".bin"))]
        return tuple(file for file in files if file.is_file())

    @contextmanager
    def loading(self, path: Path) -> Iterator[None]:
        """What goes wrong inside is a ValueError that names the part and `path`, in one line."""
        try:
            yield
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # damaged files raise anything
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{path} does not hold {self.title} ({reason}); fetch it again: {self.fetch}"
            ) from error

    def missing(self) -> str | None:
        """What to do to have this part, in one line; None if it is there."""
        if self.path() is not None:
            return None
        if os.environ.get(self.variable):
            found = self.locate(self.value)
            reason = "no such path or cached repository"
            if found is not None:
                reason = f"{self.lacking(found)} is missing there"
            return f"{self.variable}={self.value}: {reason}"
        kind = "folder" if self.files else "file"
        return f"{self.title}: run `{self.fetch}` or set {self.variable} to its {kind}"


@dataclass(frozen=True)
class Weights:
    """Paths of all parts."""

    pipeline: Path
    clip: Path
    resnet: Path
    inception: Path | None
    """None: FID is not measured."""


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
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("TORCH_HOME") or Path(caches, "torch")).expanduser()
    for file in (Path(value).expanduser(), home / "hub" / "checkpoints" / value):
        if file.is_file():
            return file
    return None


PIPELINE = Part(
    title="Stable Diffusion 1.5",
    variable="DTB_SD15",
    default="stable-diffusion-v1-5/stable-diffusion-v1-5",
    files=(
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
    fetch="hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --include '*.json' "
    "--include '*.txt' --include 'text_encoder/model.safetensors' "
    "--include '*/diffusion_pytorch_model.safetensors'",
    locate=cached_repository,
)
CLIP = Part(
    title="CLIP",
    variable="DTB_CLIP",
    default="openai/clip-vit-base-patch16",
    files=(
        "config.json",
        "preprocessor_config.json|processor_config.json",
        "tokenizer.json|vocab.json",
        "model.safetensors|pytorch_model.bin",
    ),
    fetch="hf download openai/clip-vit-base-patch16 --include '*.json' --include '*.txt' "
    "--include model.safetensors --include pytorch_model.bin",
    locate=cached_repository,
)
RESNET = Part(
    title=f"ResNet-18, {RESNET_FILE}",
    variable="DTB_RESNET18",
    default=RESNET_FILE,
    files=(),
    fetch="python -c \"import torchvision; torchvision.models.resnet18(weights='IMAGENET1K_V1')\"",
    locate=torch_checkpoint,
)
PARTS = (PIPELINE, CLIP, RESNET)
INCEPTION = "DTB_INCEPTION"
"""Environment variable with the path of the Inception weights; without it FID is left out."""


def inception() -> Path | None:
    """The file that the environment names, whether or not it exists."""
    value = os.environ.get(INCEPTION)
    return Path(value).expanduser() if value else None


def unavailable() -> str | None:
    """What to fetch and where to put it, in one line; None if all is there. Loads nothing."""
    if find_spec("transformers") is None:
        return "transformers is not installed: pip install -c constraints.txt '.[paper]'"
    missing = [part.missing() for part in PARTS]
    file = inception()
    if file is not None and not file.is_file():
        missing.append(f"{INCEPTION}={file}: no such file")
    wanted = [line for line in missing if line]
    return "; ".join([*wanted, f"see {GUIDE}"]) if wanted else None


def find() -> Weights:
    """Paths of all parts. Raises FileNotFoundError with what `unavailable` says."""
    paths = [part.path() for part in PARTS]
    pipeline, clip, resnet = paths
    reason = unavailable()
    if reason is not None or pipeline is None or clip is None or resnet is None:
        raise FileNotFoundError(reason)
    return Weights(pipeline, clip, resnet, inception())


def fingerprints() -> dict[str, str]:
    """Identity of each part: 12 hex digits of a SHA-256, read once per process.

    Takes seconds for the real weights, which are gigabytes.
    """
    found = {part.variable: part.weight_files() for part in PARTS}
    file = inception()
    if file is not None:
        found[INCEPTION] = (file,)
    return {variable: _fingerprint(files) for variable, files in found.items()}


@cache
def _fingerprint(files: tuple[Path, ...]) -> str:
    digests = [bytes.fromhex(sha256(file)) for file in files]
    return hashlib.sha256(b"".join(digests)).hexdigest()[:12]


def sha256(file: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
