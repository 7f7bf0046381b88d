"""`run.json`: what was run, on what, with which versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.files import BadResults, parse_json, read_bytes

SCHEMA_VERSION = 1
DESCRIBED = {"spec", "task", "method", "space_hash", "provenance"}
"""Keys of every `run.json`."""


def read_description(path: Path) -> dict[str, Any] | None:
    """The content of the `run.json` at `path`, or None if there is none yet. Raises BadResults."""
    try:
        return parse_description(read_bytes(path), path)
    except FileNotFoundError:
        return None


def parse_description(content: bytes, path: Path) -> dict[str, Any]:
    """A stored `run.json`. Raises BadResults if it cannot be read or is of another schema."""
    found = parse_json(content, path)
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA_VERSION or not found.keys() >= DESCRIBED:
        raise BadResults(
            f"{path} is of schema {schema}, this version reads {SCHEMA_VERSION}; "
            "read it with the version that wrote it, or run this run again with --fresh"
        )
    description: dict[str, Any] = found
    return description
