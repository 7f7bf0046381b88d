"""The contract that every method and task keeps: the same checks in CI and for a user.

`python -m benchmark check NAME` runs them on a new method or task, in under a minute. Each
check is a function that returns None, or says in words what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmark import registry
from benchmark.contract.methods import method_checks
from benchmark.contract.tasks import Check, task_checks
from tasks.base import Task


def check(name: str, device: str = "cpu") -> Iterator[tuple[str, str | None]]:
    """Run the contract suite on a method or task; yields (title, what is wrong or None)."""
    for title, verify in checks(name, device):
        try:
            yield title, verify()
        except Exception as error:
            yield title, f"raised {type(error).__name__}: {error}"


def checks(name: str, device: str = "cpu") -> list[tuple[str, Check]]:
    """The checks for a task or a method, by name or by the path of its file."""
    cls = registry.find(name)
    return task_checks(cls, device) if issubclass(cls, Task) else method_checks(name, device)
