"""The JSON files of the makers: results that are shipped, and what a long run has measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")


def read(file: Path) -> dict[str, Any]:
    """The content of `file`; empty if there is none."""
    content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return content


def put(file: Path, key: str, value: object) -> None:
    """Store `value` under `key`, beside what `file` has."""
    file.write_text(json.dumps(read(file) | {key: value}, indent=1, sort_keys=True) + "\n")


def kept(file: Path, key: str, measure: Callable[[], Value]) -> Value:
    """What `file` has under `key`, or else what `measure` returns, which is put there: a maker that
    was interrupted goes on where it was."""
    if key not in read(file):
        put(file, key, measure())
    value: Value = read(file)[key]
    return value
