"""Tasks, methods and suites as plain rows."""

from __future__ import annotations

from typing import Any

from benchmark import registry, suite
from benchmark.runs import calibration
from benchmark.runs.provenance import describe_method
from methods.base import Method
from tasks.base import Task


def tasks() -> list[dict[str, Any]]:
    """One row per registered task."""
    return [
        {
            "name": name,
            "description": task.description,
            "variables": len(task.space),
            "metric": task.metrics[0].label,
            "budget (s)": round(task.budget * 3600, 3),
            "available": task.unavailable() or "yes",
        }
        for name, task in registry.all_tasks().items()
    ]


def methods() -> list[dict[str, Any]]:
    """One row per registered method."""
    rows = []
    for method in registry.all_methods().values():
        described = describe_method(method)
        rows.append({key: described[key] for key in ("name", "description", "uses", "citation")})
    return rows


def suites() -> list[dict[str, Any]]:
    """One row per shipped suite."""
    rows = []
    for name in suite.shipped():
        loaded = suite.load(name)
        budgets = [task.budget for task, _ in loaded.pairs()]
        rows.append(
            {
                "name": name,
                "description": loaded.description,
                "tasks": len(loaded.tasks),
                "methods": len(loaded.methods),
                "seeds": loaded.seeds,
                "runs": loaded.seeds * len(budgets),
                "device-hours": round(loaded.seeds * sum(budgets), 3),
            }
        )
    return rows


def details(name: str) -> dict[str, Any]:
    """Everything about one task or method. Raises UnknownName."""
    cls = registry.find(name)
    return _task_details(cls) if issubclass(cls, Task) else _method_details(cls)


def _task_details(task: type[Task]) -> dict[str, Any]:
    reason = task.unavailable()
    ready = task("cpu") if reason is None else None
    if ready:
        ready.setup()
    return {
        "name": task.name,
        "description": task.description,
        "available": reason or "yes",
        "citation": task.citation,
        "space": [variable.facts() for variable in task.space.variables],
        "space hash": task.space.hash,
        "metrics": [metric.label for metric in task.metrics],
        "reference scores": task.references() or "none stored",
        "evaluator": ready.evaluator() if ready else {},
        "default budget (GPU-hours)": f"{task.budget:.6g}",
        "seconds per unit of work here": calibration.prices(task.name, "cpu") if ready else {},
        "methods": ", ".join(
            method.name for method in registry.all_methods().values() if method.supports(task)
        ),
    }


def _method_details(method: type[Method]) -> dict[str, Any]:
    import inspect

    return {
        **describe_method(method),
        "options": {
            parameter.name: parameter.default
            for parameter in inspect.signature(method).parameters.values()
        },
        "tasks": ", ".join(
            task.name for task in registry.all_tasks().values() if method.supports(task)
        ),
    }
