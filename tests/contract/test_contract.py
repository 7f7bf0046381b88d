"""The contract suite over every registered method and task: what `check NAME` runs."""

from __future__ import annotations

import pytest

from benchmark import contract, registry

TASKS = registry.all_tasks()


def variant(name: str) -> bool:
    """Whether a task is another one with its own start, box or sampler."""
    return any(cls is not TASKS[name] and issubclass(TASKS[name], cls) for cls in TASKS.values())


@pytest.mark.usefixtures("in_small")  # the contract holds at any size
@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) if variant(name) else name for name in TASKS),
        *registry.all_methods(),
    ],
)
def test_contract(name: str) -> None:
    cls = TASKS.get(name)
    if cls is not None and cls.unavailable():
        pytest.skip(cls.unavailable())
    if cls is not None and cls.budget >= 0.1:
        pytest.skip("a task of many minutes: a smaller one of the same kind is checked instead")
    broken = [f"{title}: {problem}" for title, problem in contract.check(name) if problem]
    assert not broken, "\n".join(broken)
