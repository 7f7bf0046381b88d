"""Plain files, written whole or not at all, and read as if a stranger had written them."""

from __future__ import annotations

import json
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmark.errors import UserError

TEMPORARY = ".tmp"
"""How files end that are being written, or deleted; their names begin with a dot."""
LARGEST_FILE = 2**28
"""Bytes of the largest file that is read: a run of 10,000 trials writes 2 % of that."""
LARGEST_PICTURE = 2**24
"""Bytes of the largest picture that is read."""
REMEDY = "bring back a copy of it, or run this run again with --fresh"


class BadResults(UserError):
    """Stored results that hold what no run writes; the message says what and where.

    They may be damaged, or come from somebody else: a file that cannot be read, links, foreign
    names and sizes are refused, not repaired.
    """


class StorageError(OSError):
    """A file cannot be written. A run that this ends is interrupted and can continue later."""


@contextmanager
def storing() -> Iterator[None]:
    """Raise a StorageError for a failure to write inside."""
    try:
        yield
    except OSError as error:
        raise StorageError(error.errno, error.strerror, error.filename) from None


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file so that a reader or a crash never sees half of it. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):  # a read-only folder has none, and says so above
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1) + "\n")


def read_bytes(path: Path | str, largest: int = LARGEST_FILE, first: int | None = None) -> bytes:
    """A whole plain file, or its `first` bytes. Raises BadResults for a link, a device or more than
    `largest` bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError:
        if os.path.islink(path):
            raise BadResults(f"{path} is a link: results are plain files") from None
        raise
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BadResults(f"{path} is not a file")
        if found.st_size > largest:
            raise BadResults(
                f"{path} has {found.st_size / 2**20:.0f} MiB, more than the "
                f"{largest / 2**20:.0f} MiB that are read"
            )
        # A log that grows meanwhile is read as it was.
        return file.read(found.st_size if first is None else first)


def read_json(path: Path) -> Any:
    """The parsed file, or None if there is none. Raises BadResults if it is not JSON."""
    try:
        return parse_json(read_bytes(path), path)
    except FileNotFoundError:
        return None


def parse_json(content: bytes, path: Path) -> Any:
    """The value that is stored at `path`. Raises BadResults if it is not JSON."""
    try:
        value = json.loads(content)
        if value is None:
            raise ValueError("null")
        return value
    except (ValueError, RecursionError) as error:
        raise BadResults(f"{path} is damaged ({error}); {REMEDY}") from None


CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""Characters that move a cursor, colour a terminal, turn text round, or are none."""


def plain(value: Any) -> Any:
    """A stored value whose strings, at any depth, can be shown on a terminal or a page."""
    if isinstance(value, str):
        return CONTROL.sub("\ufffd", value)
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value
