"""Pre-trained models and data that a task reads and the project does not ship.

An asset knows where it lies, whether it is there, whether it is whole, and how the library that
publishes it fetches it. A size or licence that is not known is said to be unknown.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "not known"


@dataclass(frozen=True)
class Asset:
    """One thing to have before a task can run."""

    name: str
    place: str | None
    """Where it lies, or is to be put; None for an optional one that the user has not asked for."""
    remedy: str
    """The command that fetches it, or the variable that names where it is."""
    missing: Callable[[], str | None]
    """Returns the first thing that is missing and what to do, in one line; None if all is there.
    Quick: reads no content."""
    damage: Callable[[], str | None]
    """Returns what is wrong with the files that are there, in one line, or None. Reads all of them,
    which may take minutes."""
    fetch: Callable[[], None]
    """Put it into `place`. Raises anything if that fails, and leaves nothing there that `missing`
    would take for whole."""
    licence: str = UNKNOWN
    size: str = UNKNOWN
    hashes: str = UNKNOWN
    """How the content is verified."""

    def check(self) -> str | None:
        """The first problem, in one line; None if the asset is whole or not asked for."""
        if self.place is None:
            return None
        return self.missing() or self.damage()


@contextmanager
def beside(place: Path) -> Iterator[Path]:
    """A temporary folder next to `place`, so that a rename from it is atomic; gone afterwards."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetching-") as folder:
        yield Path(folder)


def digest(file: Path, kind: str) -> str:
    """Hash of a file's content, in hex; `kind` is `md5` or `sha256`."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def wrong_hash(file: Path, kind: str, expected: str) -> str | None:
    """That the hash of `file` does not begin with `expected`; None if it does."""
    found = digest(file, kind)
    if found.startswith(expected):
        return None
    return (
        f"{file} ({file.stat().st_size} bytes) is damaged or another file: "
        f"its {kind.upper()} is {found}, expected {expected}"
    )
