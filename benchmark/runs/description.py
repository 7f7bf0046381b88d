"""`run.json`: what was run, on what, with which versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.files import BadResults, read_json
from benchmark.runs.folder import RunFolder

SCHEMA_VERSION = 1
DESCRIBED = {"spec", "task", "method", "space_hash", "provenance"}
"""Keys of every `run.json`."""


def read_description(folder: RunFolder) -> dict[str, Any] | None:
    """The content of `run.json`, or None if there is none yet. Raises BadResults if it is
    unreadable or of another schema."""
    found = read_json(folder.description)
    return None if found is None else checked(found, folder.description)


def checked(found: Any, path: Path) -> dict[str, Any]:
    """The content of the `run.json` at `path`. Raises BadResults for another schema."""
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA_VERSION or not found.keys() >= DESCRIBED:
        raise BadResults(
            f"{path} is of schema {schema}, this version reads {SCHEMA_VERSION}; "
            "read it with the version that wrote it, or run this run again with --fresh"
        )
    description: dict[str, Any] = found
    return description
