"""Finds the tasks of this package by name, for the commands beside it."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import tasks
from tasks.base import Task


def task(name: str) -> type[Task]:
    """The task called `name`. Raises SystemExit with the known names if there is none."""
    known = {found.name: found for found in _all()}
    if name not in known:
        raise SystemExit(f"unknown task {name!r}; known are {', '.join(sorted(known))}")
    return known[name]


def _all() -> Iterator[type[Task]]:
    for module in pkgutil.walk_packages(tasks.__path__, "tasks."):
        if not module.name.endswith(".__main__"):
            for _, found in inspect.getmembers(import_module(module.name), inspect.isclass):
                if issubclass(found, Task) and "name" in vars(found):
                    yield found
