"""Finds methods and tasks: a file dropped into `methods/` or `tasks/`, an entry point, a path, or
a class that this process has added.

An installed distribution announces its own through the entry-point groups
`diffusion_tuning_benchmark.methods` and `diffusion_tuning_benchmark.tasks`, each entry
naming a module or a class.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import methods
import tasks
from benchmark.errors import UserError
from methods.base import Method
from tasks.base import Task
from tasks.kinds import from_suite

T = TypeVar("T")
GROUP = "diffusion_tuning_benchmark"
PATIENCE = 120.0
"""Seconds that loading a file or making a method may take."""


class UnknownName(UserError):
    """A name that no method, task or suite bears; the message offers the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class BrokenModule(UserError):
    """A method or task file that cannot be used, with the reason."""


@contextmanager
def _blaming(origin: str) -> Iterator[None]:
    """Whatever fails inside is a BrokenModule of `origin`."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise BrokenModule(f"{origin}: {type(error).__name__}: {error}") from error


def _sources(package: ModuleType, group: str) -> Iterator[ModuleType | type]:
    """The modules of a package, and what other distributions announce under `group`."""
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not info.name.rpartition(".")[2].startswith("_"):
            with _blaming(info.name.replace(".", "/") + ".py"):
                module = importlib.import_module(info.name)
            yield module
    for entry in entry_points(group=f"{GROUP}.{group}"):
        with _blaming(f"entry point {entry.value}"):
            loaded = entry.load()
        yield loaded


def _classes(source: ModuleType | type, base: type | tuple[type, ...]) -> list[type]:
    """Subclasses of `base` that `source` itself defines (or is)."""
    candidates = [source] if isinstance(source, type) else vars(source).values()
    return [
        value
        for value in candidates
        if isinstance(value, type)
        and issubclass(value, base)
        and (value is source or value.__module__ == source.__name__)
    ]


def _collect(base: type, package: ModuleType, group: str) -> dict[str, type]:
    found: dict[str, type] = {}
    for source in _sources(package, group):
        for cls in _classes(source, base):
            if inspect.isabstract(cls) or "name" not in vars(cls):
                continue
            name = cls.name  # type: ignore[attr-defined]
            other = found.setdefault(name, cls)
            if other is not cls:
                raise BrokenModule(
                    f"{cls.__module__} and {other.__module__} both call themselves {name!r}"
                )
    return dict(sorted(found.items()))


_registered = cache(_collect)


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


_added: dict[type, dict[str, type]] = {Method: {}, Task: {}}
"""Classes from files and notebooks, by name."""


def all_methods() -> dict[str, type[Method]]:
    """Every known method by name. Raises BrokenModule naming a file that cannot load."""
    return _registered(Method, methods, "methods") | _added[Method]


def all_tasks() -> dict[str, type[Task]]:
    """Every known task by name. Raises BrokenModule naming a file that cannot load."""
    return _registered(Task, tasks, "tasks") | _added[Task]


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
"""Names become folders of results."""
STATED = ("description", "citation", "family", "space", "metrics", "budget")
"""Attributes that a task must have beside its name."""


def add(cls: type, origin: str = "") -> str:
    """Make a method or task known in this process and return its name.

    A class that was added earlier under the name is replaced, as when a notebook's cell is run
    again. Raises BrokenModule, beginning with `origin`, for a class that cannot be used.
    """
    where = f"{origin}: {cls.__name__}" if origin else cls.__name__
    base = Task if issubclass(cls, Task) else Method
    if not issubclass(cls, base):
        raise BrokenModule(f"{where} is no subclass of methods.base.Method or tasks.base.Task")
    if lacking := _lacking(cls):
        raise BrokenModule(f"{where} needs {' and '.join(lacking)}")
    name: str = cls.name
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BrokenModule(
            f"{where}: a name is letters, digits, '-', '_' and '.', with one '/' at most, got "
            f"{name!r}"
        )
    package, group = (methods, "methods") if base is Method else (tasks, "tasks")
    if name in _registered(base, package, group):
        raise BrokenModule(f"{where}: there is {name!r} among the {group} already; rename this one")
    _added[base][name] = cls
    return name


def _lacking(cls: type) -> list[str]:
    """Names that a class lacks to be a method or a task; it needs a name of its own."""
    abstract: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    stated = STATED if issubclass(cls, Task) else ()
    return [
        *(['a `name = "..."`'] if "name" not in vars(cls) else []),
        *(f"a `{name}` method" for name in sorted(abstract)),
        *(f"`{name}`" for name in stated if not hasattr(cls, name)),
    ]


def from_file(path: Path) -> type:
    """The one method or task that the file at `path` defines. Raises BrokenModule."""
    path = path.resolve()
    if not path.is_file():
        raise BrokenModule(f"{path}: no such file")
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    name = f"_file_{digest}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BrokenModule(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _blaming(str(path)), in_time(f"loading {path}"):
        spec.loader.exec_module(module)
    defined = _classes(module, (Method, Task))
    whole = [cls for cls in defined if not _lacking(cls)]
    if defined and not whole:
        needs = [f"class {cls.__name__} needs {' and '.join(_lacking(cls))}" for cls in defined]
        raise BrokenModule(f"{path}: {'; '.join(needs)}")
    if len(whole) != 1:
        names = ", ".join(cls.__name__ for cls in whole) or "none"
        raise BrokenModule(
            f"{path}: needs exactly one Method or Task subclass with a `name`, found {names}"
        )
    return whole[0]


IN_SUITE = "::"
"""Between the path of a suite file and the name of a task that is stated there."""


def file_of(name: str) -> Path | None:
    """The file in which what is called `name` is defined; None for a registered name."""
    path = name.partition(IN_SUITE)[0]
    return Path(path) if IN_SUITE in name or name.endswith(".py") else None


def find(name: str) -> type[Method] | type[Task]:
    """A method or task by name or by its file, as `method` and `task` take them; a task of a file
    becomes known by its name."""
    file = file_of(name)
    if file is None:
        return _known("task or method", name, all_tasks() | all_methods())
    cls = _from_suite(name) if IN_SUITE in name else from_file(file)
    if issubclass(cls, Task):
        add(cls, name)
    return cls


def method(name: str) -> type[Method]:
    """A method by name or by the path of its file."""
    if not name.endswith(".py"):
        return _known("method", name, all_methods())
    cls = find(name)
    if not issubclass(cls, Method):
        raise BrokenModule(f"{name} defines a task; give it by --task or as a task's `file`")
    return cls


def task(name: str) -> type[Task]:
    """A task by name, by the path of its file, or by that of the suite file that states it and
    `::` and its name."""
    if file_of(name) is None:
        return _known("task", name, all_tasks())
    cls = find(name)
    if not issubclass(cls, Task):
        raise BrokenModule(f"{name} defines a method; give it by --method or as its `name`")
    return cls


def _from_suite(name: str) -> type[Task]:
    file, _, own = name.partition(IN_SUITE)
    try:
        return from_suite(Path(file), own)
    except (OSError, ValueError) as error:
        raise BrokenModule(f"{name}: {error}") from None


def _known(kind: str, name: str, known: dict[str, T]) -> T:
    if name not in known:
        raise UnknownName(kind, name, known)
    return known[name]


def supports(method_name: str, task_name: str) -> bool:
    """Whether a method works on a task. Raises BrokenModule if it cannot say."""
    cls, given = method(method_name), task(task_name)
    with _blaming(f"{method_name}: supports({task_name})"):
        return cls.supports(given)
