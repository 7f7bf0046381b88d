"""Where the weights of the Stable Diffusion task lie on this machine; a task downloads nothing.

Each part is named by an environment variable, or found where its own tools keep it: the local
Hugging Face cache, torch's folder of checkpoints. See docs/stable-diffusion.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from tasks.assets.asset import UNKNOWN, Asset, digest
from tasks.finetune.sd15.published_weights import (
    RESNET_FILE,
    cached_repository,
    checkpoints,
    damage,
    fetch_repository,
    fetch_resnet,
    repositories,
    torch_checkpoint,
)

GUIDE = "docs/stable-diffusion.md"


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
    obtain: Callable[[], None]
    """Does what `fetch` does."""
    home: Callable[[], Path]
    """The folder that `fetch` puts the part into."""
    licence: str
    size: str
    hashes: str

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
        except Exception as error:  # damaged files raise anything
            import torch

            if isinstance(error, MemoryError | torch.OutOfMemoryError):
                raise
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

    def damage(self) -> str | None:
        """The first file that is not whole, in one line; None if all are, or none is there."""
        folder = self.path()
        if folder is None:
            return None
        names = [name for names in self.files for name in names.split("|")]
        files = [folder / name for name in names if (folder / name).is_file()]
        problems = (damage(file) for file in files or [folder])
        problem = next(filter(None, problems), None)
        return problem and f"{problem}; fetch it again: {self.fetch}"

    def asset(self) -> Asset:
        """The part, to be looked at and fetched."""
        return Asset(
            name=self.title,
            place=str(self.path() or os.environ.get(self.variable) or self.home()),
            remedy=f"{self.fetch}, or set {self.variable}",
            missing=self.missing,
            damage=self.damage,
            fetch=self.put,
            licence=self.licence,
            size=self.size,
            hashes=self.hashes,
        )

    def put(self) -> None:
        """Fetch the part. Raises ValueError where it would not be looked for afterwards."""
        if os.environ.get(self.variable):
            raise ValueError(
                f"{self.variable}={self.value} is yours to fill; unset it to have {self.default} "
                f"in {self.home()}"
            )
        self.obtain()


@dataclass(frozen=True)
class Weights:
    """Paths of all parts."""

    pipeline: Path
    clip: Path
    resnet: Path
    inception: Path | None
    """None: FID is not measured."""


def _command(name: str, patterns: Sequence[str]) -> str:
    return f"hf download {name} " + " ".join(f"--include '{pattern}'" for pattern in patterns)


_SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
_SD15_FILES = (
    "*.json",
    "*.txt",
    "text_encoder/model.safetensors",
    "*/diffusion_pytorch_model.safetensors",
)
_CLIP = "openai/clip-vit-base-patch16"
_CLIP_FILES = ("*.json", "*.txt", "model.safetensors", "pytorch_model.bin")
_HUB_HASHES = "SHA-256 by which the local cache names large files; elsewhere the format alone"

PIPELINE = Part(
    title="Stable Diffusion 1.5",
    variable="DTB_SD15",
    default=_SD15,
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
    fetch=_command(_SD15, _SD15_FILES),
    locate=cached_repository,
    obtain=partial(fetch_repository, _SD15, _SD15_FILES),
    home=repositories,
    licence="CreativeML OpenRAIL-M, with restrictions on use",
    size="4.3 GB",
    hashes=_HUB_HASHES,
)
CLIP = Part(
    title="CLIP",
    variable="DTB_CLIP",
    default=_CLIP,
    files=(
        "config.json",
        "preprocessor_config.json|processor_config.json",
        "tokenizer.json|vocab.json",
        "model.safetensors|pytorch_model.bin",
    ),
    fetch=_command(_CLIP, _CLIP_FILES),
    locate=cached_repository,
    obtain=partial(fetch_repository, _CLIP, _CLIP_FILES),
    home=repositories,
    licence=f"{UNKNOWN}; MIT is that of the code which it was released with",
    size="0.6 GB",
    hashes=_HUB_HASHES,
)
RESNET = Part(
    title=f"ResNet-18, {RESNET_FILE}",
    variable="DTB_RESNET18",
    default=RESNET_FILE,
    files=(),
    fetch="python -c \"import torchvision; torchvision.models.resnet18(weights='IMAGENET1K_V1')\"",
    locate=torch_checkpoint,
    obtain=fetch_resnet,
    home=checkpoints,
    licence=f"{UNKNOWN}; torchvision: perhaps terms of the data it was trained on, ImageNet",
    size="47 MB",
    hashes="SHA-256, as far as the file's name holds it",
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
    digests = [bytes.fromhex(digest(file, "sha256")) for file in files]
    return hashlib.sha256(b"".join(digests)).hexdigest()[:12]
