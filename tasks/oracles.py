"""The narrow side of a task that a method works with: the metered oracles of its family.

A family describes its oracles once, by a protocol derived from `Oracles`; `exposed` hands out those
members of a task and no others. What a method must not see (report data, references, `evaluate`,
the meter) cannot be reached from there by an attribute. Python has no walls inside a process, so
this keeps honest methods honest; it does not stop code that sets out to cheat.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    from tasks.base import Task


@runtime_checkable
class Oracles(Protocol):
    """What every task tells a method; families add to it."""

    name: str
    """`family/dataset`, e.g. `finetune/digits`."""
    family: str


def exposed(task: Task) -> Oracles:
    """The members of `task` that the protocol of its family (`Task.oracles`) names."""
    return cast(
        Oracles,
        SimpleNamespace(**{name: detached(getattr(task, name)) for name in members(task.oracles)}),
    )


def members(protocol: type) -> list[str]:
    """Names of the attributes and methods that `protocol` and its bases declare."""
    declared = [
        name
        for cls in protocol.__mro__
        if cls not in (object, Protocol)
        for name in (*vars(cls).get("__annotations__", ()), *vars(cls))
    ]
    return sorted({name for name in declared if not name.startswith("_")})


def detached(member: Any) -> Any:
    """A bound method as a plain function, which does not lead back to its object."""
    if not inspect.ismethod(member):
        return member

    def call(*arguments: Any, **options: Any) -> Any:
        return member(*arguments, **options)

    named: Callable[..., Any] = call
    named.__name__, named.__qualname__ = member.__name__, member.__name__
    named.__doc__ = member.__doc__
    return named
