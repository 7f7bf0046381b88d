"""Tasks that a suite file states itself, by a table with a `kind`; each kind has a module with a
function `define`, which is loaded when it is needed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.base import Task

KINDS = {
    "command": "tasks.command.definition",
    "diffusers": "tasks.finetune.pipelines.definition",
}


def define(table: Mapping[str, Any], folder: Path) -> type[Task]:
    """The task that a table of a suite file in `folder` states. Raises ValueError, in one line."""
    kind = table.get("kind")
    if kind not in KINDS:
        known = " or ".join(map(repr, KINDS))
        raise ValueError(f"kind must be {known} or left out, got {kind!r}")
    defined: type[Task] = import_module(KINDS[kind]).define(table, folder)
    return defined


def from_suite(file: Path, name: str) -> type[Task]:
    """The task called `name` that a suite file states. Raises ValueError."""
    for table in tomllib.loads(file.read_text()).get("tasks", []):
        if "kind" in table and table.get("name") == name:
            return define(table, file.resolve().parent)
    raise ValueError(f"{file} states no task {name!r} of its own")
