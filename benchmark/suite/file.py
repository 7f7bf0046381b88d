"""A suite file: which tasks, methods, seeds and budgets; read, checked, turned into runs.

seeds = 3                         # runs per task and method
hard_limit = 3600                 # seconds of wall time after which a run is ended as failed,
                                  # evaluations aside; 1.5 budgets and 10 minutes if left out
description = "..."
precision = "bfloat16"            # what schedule tasks' networks compute in; float32 if left out
runs_per_device = 2               # workers that share a GPU, with --clock priced; 1 if left out
focus = "bilevel"                 # label of the method that the suite asks about
smallest_effect = 0.01            # relative difference below which methods are tied
targets = [0.5, 0.9]              # of the cost to target: shares of the gain from a task's stored
                                  # default (0) to its stored tuned run (1)

[[tasks]]
name = "finetune/digits"          # or a pattern: "finetune/*"
budget = 0.003                    # GPU-hours per run; the task's own default if left out

[[tasks]]
file = "my_task.py"               # a Python file that defines one task, instead of a name

[[tasks]]
kind = "command"                  # a training script; its keys are in tasks/command/definition.py

[[tasks]]
kind = "diffusers"                # a pipeline: tasks/finetune/pipelines/definition.py

[[methods]]
name = "grid"                     # a registered name, or the path of a Python file
label = "grid-seven"              # how it is called in results; its name if left out
options = { levels = 7 }          # keyword arguments of the method
tasks = ["finetune/*"]            # where it takes part; everywhere it can if left out

[[contrasts]]                     # a comparison planned before anything runs
name = "against grid and random search"
method = "bilevel"                # the focus if left out
against = ["best:grid", "random"]  # a label, the best of a group, or a list: the best of all
tasks = ["schedule/*"]            # all tasks if left out

[executor]                        # only for --executor slurm: docs/running.md
interface = "ib0"                 # network interface of the submitting machine
workers = 8                       # jobs, one run at a time each
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.errors import UserError
from benchmark.registry import UnknownName
from benchmark.suite import design
from benchmark.suite.checks import (
    MOST_SEEDS,
    budget_of,
    distinct,
    keys,
    patterns,
    positive,
    tables,
    text,
    whole,
)
from benchmark.suite.model import MethodEntry, Suite, SuiteError, TaskEntry, fits
from tasks.kinds import define

SHIPPED = Path(__file__).parent.parent / "suites"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Labels name folders."""
KEYS = {
    "description", "seeds", "suite_seed", "hard_limit", "precision", "runs_per_device", "tasks",
    "methods", "executor", "focus", "smallest_effect", "targets", "contrasts",
}  # fmt: skip


def shipped() -> dict[str, Path]:
    """The suites that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def load(name: str) -> Suite:
    """Read and check a shipped suite by name, or a suite file by path. Raises SuiteError."""
    path = shipped().get(name, Path(name))
    if not path.is_file():
        if path.suffix == ".toml":
            raise SuiteError(f"{path}: no such file")
        raise UnknownName("suite", name, shipped())
    try:
        content = tomllib.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:  # TOML's own, or not UTF-8
        raise SuiteError(f"{path}: not a TOML file: {error}") from None
    try:
        return _suite(path, content)
    except UserError as error:
        raise SuiteError(f"{path}: {error}") from None


def _suite(path: Path, content: dict[str, Any]) -> Suite:
    keys("the suite", content, KEYS)
    hard_limit = content.get("hard_limit")
    if hard_limit is not None:
        hard_limit = positive("hard_limit", hard_limit, "seconds")
    tasks = [entry for table in tables(content, "tasks") for entry in _tasks(path, table)]
    methods = [method_entry(table) for table in tables(content, "methods")]
    distinct("task", [entry.name for entry in tasks])
    distinct("method label", [entry.label for entry in methods])
    for method in methods:
        for pattern in method.tasks:
            if not any(fits(entry.name, [pattern]) for entry in tasks):
                raise SuiteError(f"method {method.label!r}: tasks pattern {pattern!r} fits none")
    executor = content.get("executor", {})
    if not isinstance(executor, dict):
        raise SuiteError(f"[executor] must be a table, got {executor!r}")
    suite = Suite(
        name=path.name.removesuffix(".toml"),
        description=str(content.get("description", "")),
        seeds=whole("seeds", content.get("seeds", 3), least=1, most=MOST_SEEDS),
        suite_seed=whole("suite_seed", content.get("suite_seed", 0), least=0, most=2**63),
        tasks=tuple(tasks),
        methods=tuple(methods),
        hard_limit=hard_limit,
        executor=executor,
        file=path,
        precision=_precision(content.get("precision", "float32"), tasks),
        runs_per_device=whole("runs_per_device", content.get("runs_per_device", 1), 1, 64),
    )
    return replace(suite, design=design.read(content, methods, suite.pairs()))


def _precision(value: Any, tasks: Sequence[TaskEntry]) -> str:
    known = sorted({name for entry in tasks for name in registry.task(entry.name).precisions})
    if value not in known:
        raise SuiteError(f"precision of these tasks must be {' or '.join(known)}, got {value!r}")
    chosen: str = value
    return chosen


def _tasks(path: Path, table: dict[str, Any]) -> list[TaskEntry]:
    where = f"task {table.get('file', table.get('name'))!r}"
    if "kind" in table:
        return [_stated(where, path.resolve(), table)]
    keys(where, table, {"name", "file", "budget"})
    if "file" in table:
        if "name" in table or not text(where, "file", table).endswith(".py"):
            raise SuiteError(f"{where}: a task has a name or a `file` that ends with .py")
        found = [task_from_file(table["file"])]
    else:
        pattern = text(where, "name", table)
        found = [
            TaskEntry(name, task.budget)
            for name, task in registry.all_tasks().items()
            if fits(name, [pattern])
        ]
        if not found:
            raise UnknownName("task", pattern, registry.all_tasks())
    return with_budget(found, f"{where}: budget", table.get("budget"))


def with_budget(entries: list[TaskEntry], where: str, budget: Any) -> list[TaskEntry]:
    """The tasks under a checked budget in GPU-hours; under their own if it is None."""
    if budget is None:
        return entries
    return [replace(entry, budget=budget_of(where, budget, entry.name)) for entry in entries]


def _stated(where: str, path: Path, table: dict[str, Any]) -> TaskEntry:
    """A task with a `kind`, which the suite file at `path` states itself."""
    try:
        name = registry.add(define(table, path.parent))
    except ValueError as error:
        raise SuiteError(f"{where}: {error}") from None
    hours = positive(f"{where}: budget", table["budget"], "GPU-hours")
    return TaskEntry(name, hours, f"{path}{registry.IN_SUITE}{name}")


def task_from_file(path: str) -> TaskEntry:
    """The task that a Python file defines, under its default budget."""
    task = registry.task(path)
    hours = budget_of(f"{path}: budget", task.budget, task.name)
    return TaskEntry(task.name, hours, str(Path(path).resolve()))


def method_entry(table: dict[str, Any]) -> MethodEntry:
    where = f"method {table.get('label', table.get('name'))!r}"
    keys(where, table, {"name", "label", "options", "tasks"})
    name = text(where, "name", table)
    cls = registry.method(name)
    label = table.get("label", cls.name)
    if not isinstance(label, str) or not LABEL.fullmatch(label):
        raise SuiteError(f"{where}: label must be letters, digits, '-', '_' or '.', got {label!r}")
    options = table.get("options", {})
    keys(f"{where}: options", options, inspect.signature(cls).parameters)
    try:
        json.dumps(options, allow_nan=False)  # they are stored with the results
        with registry.in_time(f"making {cls.__name__} of {name}"):
            cls(**options)
    except Exception as error:
        raise SuiteError(f"{where}: options {options}: {error}") from None
    resolved = str(Path(name).resolve()) if name.endswith(".py") else name
    return MethodEntry(resolved, label, options, patterns(where, table))
