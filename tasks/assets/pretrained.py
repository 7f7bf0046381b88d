"""Pre-trained models that other tools publish and keep: a folder or a file of the user, or a
repository of the local Hugging Face cache.

Fetching is left to these tools; a task downloads nothing. See docs/your-data-and-models.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tasks.assets.asset import Asset, digest, wrong_hash


@dataclass(frozen=True)
class Part(ABC):
    """A pre-trained model, named by an environment variable or found where its tools keep it."""

    title: str
    variable: str
    """Environment variable with a path, or with a name that `locate` finds."""
    default: str
    """Value of the variable if it is not set."""
    licence: str
    size: str

    hashes = ""
    kind = "file"

    @property
    def value(self) -> str:
        return os.environ.get(self.variable) or self.default

    @property
    @abstractmethod
    def command(self) -> str:
        """The command that puts the part where `default` is looked for."""

    @abstractmethod
    def locate(self) -> Path | None:
        """The folder or file that `value` stands for; None if there is none."""

    @abstractmethod
    def obtain(self) -> None:
        """Does what `command` does."""

    @abstractmethod
    def home(self) -> Path:
        """The folder that `command` puts the part into."""

    def lacking(self, found: Path) -> str:
        """The first file missing in `found`, or an empty string."""
        return ""

    def files(self, found: Path) -> list[Path]:
        """The files of the part that exist, in order."""
        return [found]

    def path(self) -> Path | None:
        """Where the part lies, or None if it is not there or not complete."""
        found = self.locate()
        return None if found is None or self.lacking(found) else found

    def parameter_files(self) -> tuple[Path, ...]:
        """The files that hold parameters, in order; empty if the part is not there."""
        path = self.path()
        files = [] if path is None else self.files(path)
        return tuple(file for file in files if file.suffix in (".safetensors", ".bin", ".pth"))

    def loading(self, path: Path) -> AbstractContextManager[None]:
        """Turn an error raised inside into a ValueError of one line with the part and `path`."""
        return loading(f"{path} does not hold {self.title}", f"; fetch it again: {self.command}")

    def missing(self) -> str | None:
        """How to get this part, in one line; None if it is there."""
        if self.path() is not None:
            return None
        if os.environ.get(self.variable):
            found = self.locate()
            reason = "no such path or cached repository"
            if found is not None:
                reason = f"{self.lacking(found)} is missing there"
            return f"{self.variable}={self.value}: {reason}"
        return f"{self.title}: run `{self.command}` or set {self.variable} to its {self.kind}"

    def damage(self) -> str | None:
        """The first file that is not whole, in one line; None if all are, or none is there."""
        path = self.path()
        problems = map(damage, [] if path is None else self.files(path))
        problem = next(filter(None, problems), None)
        return problem and f"{problem}; fetch it again: {self.command}"

    def asset(self) -> Asset:
        """The part, to be checked and fetched."""
        return Asset(
            name=self.title,
            place=str(self.path() or os.environ.get(self.variable) or self.home()),
            remedy=f"{self.command}, or set {self.variable}",
            missing=self.missing,
            damage=self.damage,
            fetch=self.fetch,
            licence=self.licence,
            size=self.size,
            hashes=self.hashes,
        )

    def fetch(self) -> None:
        """Fetch the part. Raises ValueError where it would not be looked for afterwards."""
        if os.environ.get(self.variable):
            raise ValueError(
                f"{self.variable}={self.value} is yours to fill; unset it to have {self.default} "
                f"in {self.home()}"
            )
        self.obtain()


@dataclass(frozen=True)
class Repository(Part):
    """A part in a folder, or in a repository of the local Hugging Face cache."""

    patterns: tuple[str, ...]
    """Files to fetch."""
    needed: tuple[str, ...]
    """Files that the folder must hold; `a|b` means either."""

    hashes = "SHA-256 by which the local cache names large files; elsewhere the format alone"
    kind = "folder"

    @property
    def command(self) -> str:
        included = " ".join(f"--include '{pattern}'" for pattern in self.patterns)
        return f"hf download {self.default} {included}"

    def locate(self) -> Path | None:
        folder = Path(self.value).expanduser()
        return folder if folder.is_dir() else cached(self.value)

    def lacking(self, found: Path) -> str:
        for names in self.needed:
            if not any((found / name).is_file() for name in names.split("|")):
                return names.replace("|", " or ")
        return ""

    def files(self, found: Path) -> list[Path]:
        names = [name for names in self.needed for name in names.split("|")]
        return [found / name for name in names if (found / name).is_file()]

    def obtain(self) -> None:
        """Fetch into the cache, which shows a file once it is whole; where one that is there is
        damaged, all are fetched again."""
        from huggingface_hub import snapshot_download

        found = self.locate()
        damaged = found is not None and any(map(damage, filter(Path.is_file, found.rglob("*"))))
        snapshot_download(self.default, allow_patterns=list(self.patterns), force_download=damaged)

    def home(self) -> Path:
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)


@contextmanager
def loading(failure: str, remedy: str = "") -> Iterator[None]:
    """Turn an error raised inside, but a lack of memory, into a ValueError of one line."""
    try:
        yield
    except Exception as error:  # damaged files raise anything
        import torch

        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{failure} ({reason}){remedy}") from error


def lacking_library() -> str | None:
    """How to install what reads these models, in one line; None if it is there."""
    if find_spec("transformers") is None:
        return "transformers is not installed: pip install -c constraints.txt '.[paper]'"
    return None


def cached(repository: str) -> Path | None:
    """The newest snapshot of a repository in the local Hugging Face cache, or None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(str(snapshot_download(repository, local_files_only=True)))
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def damage(file: Path) -> str | None:
    """Why a file is not whole, by the hash in its name or else by its format; None if it seems
    whole."""
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


@cache
def fingerprint(files: tuple[Path, ...]) -> str:
    """Identity of files with parameters: 12 hex digits of a SHA-256. Read once per process, which
    takes seconds for gigabytes."""
    digests = [bytes.fromhex(digest(file, "sha256")) for file in files]
    return hashlib.sha256(b"".join(digests)).hexdigest()[:12]
