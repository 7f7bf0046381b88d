"""Finds methods and tasks: a file dropped into `methods/` or `tasks/`, an entry point, a path.

An installed distribution announces its own through the entry-point groups
`diffusion_tuning_benchmark.methods` and `diffusion_tuning_benchmark.tasks`, each entry
naming a module or a class.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import methods
import tasks
from methods.base import Method
from tasks.base import Task

GROUP = "diffusion_tuning_benchmark"
PATIENCE = 120.0
"""Seconds that loading a file or making a method may take."""


class UnknownName(ValueError):
    """A name that no method, task or suite bears; the message offers the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class BrokenModule(ValueError):
    """A method or task file that cannot be used, with the reason."""


def _load(name: str, origin: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise BrokenModule(f"{origin}: {type(error).__name__}: {error}") from error


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not info.name.rpartition(".")[2].startswith("_"):
            yield _load(info.name, info.name.replace(".", "/") + ".py")


def _entries(group: str) -> Iterator[ModuleType | type]:
    for entry in entry_points(group=f"{GROUP}.{group}"):
        try:
            yield entry.load()
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            raise BrokenModule(f"entry point {entry.value}: {reason}") from error


def _classes(source: ModuleType | type, base: type) -> Iterator[type]:
    """Concrete, named subclasses of `base` that `source` itself defines (or is)."""
    candidates = [source] if isinstance(source, type) else vars(source).values()
    for value in candidates:
        if (
            isinstance(value, type)
            and issubclass(value, base)
            and not inspect.isabstract(value)
            and "name" in vars(value)
            and (value is source or value.__module__ == source.__name__)
        ):
            yield value


def _collect(base: type, package: ModuleType, group: str) -> dict[str, type]:
    found: dict[str, type] = {}
    for source in (*_modules(package), *_entries(group)):
        for cls in _classes(source, base):
            name = cls.name  # type: ignore[attr-defined]
            other = found.setdefault(name, cls)
            if other is not cls:
                raise BrokenModule(
                    f"{cls.__module__} and {other.__module__} both call themselves {name!r}"
                )
    return dict(sorted(found.items()))


@contextmanager
def in_time(what: str) -> Iterator[None]:
    """End the process, saying so, if what happens inside never ends: it cannot be interrupted."""

    def end() -> None:
        message = f"error: {what} took more than {PATIENCE:.0f} s; it must not work or wait there"
        os.write(2, f"{message}\n".encode())
        os._exit(2)

    timer = threading.Timer(PATIENCE, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@cache
def all_methods() -> dict[str, type[Method]]:
    """Every registered method by name. Raises BrokenModule naming a file that cannot load."""
    return _collect(Method, methods, "methods")


@cache
def all_tasks() -> dict[str, type[Task]]:
    """Every registered task by name. Raises BrokenModule naming a file that cannot load."""
    return _collect(Task, tasks, "tasks")


def method_from_file(path: Path) -> type[Method]:
    """The one method that the file at `path` defines."""
    path = path.resolve()
    if not path.is_file():
        raise BrokenModule(f"{path}: no such file")
    name = f"_method_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BrokenModule(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with in_time(f"loading {path}"):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise BrokenModule(f"{path}: {type(error).__name__}: {error}") from error
    found = list(_classes(module, Method))
    if not found and (unfinished := "; ".join(_unfinished(module))):
        raise BrokenModule(f"{path}: {unfinished}")
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found) or "none"
        raise BrokenModule(
            f"{path}: needs exactly one Method subclass with a `name` and a `run`, found {names}"
        )
    return found[0]


def _unfinished(module: ModuleType) -> Iterator[str]:
    """What the methods that `module` defines lack to be one."""
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and issubclass(value, Method)
            and value.__module__ == module.__name__
        ):
            lacking = [f"a `{name}` method" for name in sorted(value.__abstractmethods__)]
            if not isinstance(getattr(value, "name", None), str):
                lacking.insert(0, 'a `name = "..."`')
            yield f"class {value.__name__} needs {' and '.join(lacking)}"


def method(name: str) -> type[Method]:
    """A method by registered name or by the path of its file."""
    if name.endswith(".py"):
        return method_from_file(Path(name))
    known = all_methods()
    if name not in known:
        raise UnknownName("method", name, known)
    return known[name]


def supports(method_name: str, task_name: str) -> bool:
    """Whether a method works on a task. Raises BrokenModule if it cannot say."""
    try:
        return method(method_name).supports(task(task_name))
    except (UnknownName, BrokenModule):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise BrokenModule(f"{method_name}: supports({task_name}) raised {reason}") from error


def task(name: str) -> type[Task]:
    """A task by registered name."""
    known = all_tasks()
    if name not in known:
        raise UnknownName("task", name, known)
    return known[name]
