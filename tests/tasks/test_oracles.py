"""What a method is handed of a task: the oracles of its family, and no way back to the task."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from benchmark import registry
from tasks.base import Task
from tasks.finetune.gaussian import FinetuneGaussian
from tasks.finetune.gaussian_trained import FinetuneGaussianTrained
from tasks.oracles import exposed, members
from tasks.schedule.gaussian import ScheduleGaussian

FORBIDDEN = ("evaluate", "score", "references", "meter", "report_images", "report_references")


@pytest.fixture(params=[FinetuneGaussian, FinetuneGaussianTrained, ScheduleGaussian])
def task(request: pytest.FixtureRequest) -> Task:
    found: Task = request.param()
    found.setup()
    return found


def reachable(start: Any) -> Iterator[Any]:
    """Everything that public attributes, `__self__`, `__wrapped__` and `__dict__` lead to."""
    seen: dict[int, Any] = {}
    waiting = [start]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, type | ModuleType | str | int | float):
            continue
        seen[id(found)] = found
        yield found
        names = [name for name in dir(found) if not name.startswith("_")]
        names += ["__self__", "__wrapped__", "__dict__"]
        if not type(found).__module__.startswith("torch"):
            waiting += [getattr(found, name) for name in names if hasattr(found, name)]


def test_oracles_are_the_members_of_the_protocol(task: Task) -> None:
    oracles = exposed(task)
    assert [name for name in dir(oracles) if not name.startswith("_")] == members(task.oracles)
    assert isinstance(oracles, task.oracles)
    assert (oracles.name, oracles.family) == (task.name, task.family)
    assert not any(hasattr(oracles, name) for name in FORBIDDEN)


def test_no_attribute_leads_back_to_the_task(task: Task) -> None:
    found = list(reachable(exposed(task)))
    assert len(found) > len(members(task.oracles))
    assert not any(one is task or one is task.meter for one in found)
    assert not any(isinstance(one, Task) for one in found)


def test_oracles_do_what_the_task_does() -> None:
    task = FinetuneGaussian()
    oracles = exposed(task)
    assert oracles.pool(5, 1).upper.tolist() == task.pool(5, 1).upper.tolist()


def test_every_family_has_a_protocol() -> None:
    for cls in registry.all_tasks().values():
        if cls.family in ("finetune", "finetune-trained", "schedule"):
            assert {"name", "family"} < set(members(cls.oracles))
