"""The narrow side of a task that a method works with: the metered oracles of its family.

A family describes its oracles once, by a protocol derived from `Oracles`; `exposed` hands out those
members of a task and no others. What a method must not see (report data, references, `evaluate`,
the meter) cannot be reached from there by an attribute. Python has no walls inside a process, so
this keeps honest methods honest; it does not stop code that sets out to cheat.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    from tasks.base import Task


@runtime_checkable
class Oracles(Protocol):
    """The oracles of every task; families add to them."""

    @property
    def name(self) -> str:
        """`family/dataset`, e.g. `finetune/digits`."""
        ...

    @property
    def family(self) -> str: ...


def exposed(task: Task) -> Oracles:
    """The members of `task` that the protocol of its family (`Task.oracles`) names."""
    return cast(Oracles, view(task, task.oracles))


def view(whole: Any, protocol: type) -> Any:
    """An object with those attributes and methods of `whole` that `protocol` declares, which does
    not lead back to `whole`."""
    parts = {name: _forwarded(whole, name) for name in members(protocol)}
    return type(protocol.__name__, (), {"__slots__": (), **parts})()


def members(protocol: type) -> list[str]:
    """Names of the attributes and methods that `protocol` and its bases declare."""
    declared = [
        name
        for cls in protocol.__mro__
        if cls not in (object, Protocol)
        for name in (*vars(cls).get("__annotations__", ()), *vars(cls))
    ]
    return sorted({name for name in declared if not name.startswith("_")})


def _forwarded(whole: Any, name: str) -> Any:
    if inspect.isroutine(getattr(type(whole), name, None)):
        return staticmethod(detached(getattr(whole, name)))
    return property(lambda _: getattr(whole, name))


def detached(method: Callable[..., Any]) -> Callable[..., Any]:
    """A bound method as a plain function, which does not lead back to its object."""

    def call(*arguments: Any, **options: Any) -> Any:
        return method(*arguments, **options)

    call.__name__ = call.__qualname__ = method.__name__
    call.__doc__ = method.__doc__
    return call
