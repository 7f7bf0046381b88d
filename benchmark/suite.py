"""A suite file: which tasks, methods, seeds and budgets; read, checked, turned into runs.

seeds = 3                         # runs per task and method
hard_limit = 3600                 # seconds of wall time after which a run is ended as failed,
                                  # evaluations aside; 1.5 budgets and 10 minutes if left out
description = "..."
precision = "bfloat16"            # what schedule tasks' networks compute in; float32 if left out
runs_per_device = 2               # workers that share a GPU, with --clock priced; 1 if left out

[[tasks]]
name = "finetune/digits"          # or a pattern: "finetune/*"
budget = 0.003                    # GPU-hours per run; the task's own default if left out

[[methods]]
name = "grid"                     # a registered name, or the path of a Python file
label = "grid-shifted"            # how it is called in results; its name if left out
options = { shifted = true }      # keyword arguments of the method
tasks = ["finetune/*"]            # where it takes part; everywhere it can if left out

[executor]                        # only for --executor slurm: benchmark.slurm.SETTINGS
interface = "ib0"                 # network interface of the submitting machine
workers = 8                       # jobs, one run at a time each
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from benchmark import registry
from benchmark.registry import UnknownName
from benchmark.runner import RunSpec
from benchmark.slurm import SETTINGS as SLURM_SETTINGS

SHIPPED = Path(__file__).parent / "suites"
DEFAULT = "quick"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Labels name folders."""
LEAST_BUDGET = 1e-3
"""Least budget, as a share of the task's default: below it no trial would end."""
KEYS = {
    "description", "seeds", "suite_seed", "hard_limit", "precision", "runs_per_device", "tasks",
    "methods", "executor",
}  # fmt: skip
MOST_SHARING = 64
MOST = 1e9
"""Bound on numbers of seconds and GPU-hours: beyond it is a slip of the pen."""
MOST_SEEDS = MOST_WORKERS = 10_000
T = TypeVar("T")


class SuiteError(ValueError):
    """A suite that cannot be run; the message says what, where, and what would be right."""


@dataclass(frozen=True)
class TaskEntry:
    name: str
    budget: float


@dataclass(frozen=True)
class MethodEntry:
    name: str
    label: str
    options: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Suite:
    """A checked suite. `entries` are task x method pairs that go together."""

    name: str
    description: str
    seeds: int
    suite_seed: int
    tasks: tuple[TaskEntry, ...]
    methods: tuple[MethodEntry, ...]
    hard_limit: float | None = None
    executor: dict[str, Any] = field(default_factory=dict)
    """Settings of Slurm jobs."""
    precision: str = "float32"
    """Where a task computes in it; the others compute in float32."""
    runs_per_device: int = 1

    def pairs(self) -> list[tuple[TaskEntry, MethodEntry]]:
        """Tasks in order and, for each, the methods that take part in it."""
        return [
            (task, method)
            for task in self.tasks
            for method in self.methods
            if any(fnmatchcase(task.name, pattern) for pattern in method.tasks)
            and registry.supports(method.name, task.name)
        ]

    def specs(self, results: Path, clock: str, device: str) -> list[RunSpec]:
        """All runs: by task, then seed, then method, so that comparisons complete early.

        Raises SuiteError for runs that share a device under the device clock.
        """
        if self.runs_per_device > 1 and clock != "priced":
            raise SuiteError(
                f"runs_per_device = {self.runs_per_device}: runs that share a device slow each "
                "other, and measured time would charge them for it; add --clock priced, or leave "
                "runs_per_device out"
            )
        pairs = self.pairs()
        folder = str(results.absolute())  # a method may change the directory
        precision = {task.name: self._precision(task.name) for task in self.tasks}
        return [
            RunSpec(
                suite=self.name,
                task=task.name,
                label=method.label,
                method=method.name,
                seed=seed,
                budget=task.budget,
                results=folder,
                options=method.options,
                suite_seed=self.suite_seed,
                clock=clock,
                device=device,
                hard_limit=self.hard_limit,
                precision=precision[task.name],
                runs_per_device=self.runs_per_device,
            )
            for task in self.tasks
            for seed in range(self.seeds)
            for other, method in pairs
            if other is task
        ]

    def _precision(self, task: str) -> str:
        known = registry.task(task).precisions
        return self.precision if self.precision in known else known[0]


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
        return _suite(path.stem, content)
    except (SuiteError, UnknownName, registry.BrokenModule) as error:
        raise SuiteError(f"{path}: {error}") from None


def select(
    suite: Suite,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
    budget: float | None = None,
) -> Suite:
    """Narrow a suite to task and method patterns, and override seeds and budget.

    A method given as a `.py` path, or by a registered name that the suite does not use, is
    added. A pattern that matches nothing is an error.
    """
    entries = list(suite.methods)
    for pattern in methods:
        labels = [entry.label for entry in entries]
        if pattern.endswith(".py") or (
            not any(fnmatchcase(label, pattern) for label in labels)
            and pattern in registry.all_methods()
        ):
            entries.append(_method({"name": pattern}))
            if entries[-1].label in labels:
                raise SuiteError(
                    f"{pattern}: the suite has a method {entries[-1].label!r} already; "
                    "give this one a name of its own"
                )
    wanted = [_label(pattern) for pattern in methods]
    labelled = {entry.label: entry for entry in entries}
    chosen_methods = _matching("method", wanted, labelled, registry.all_methods())
    extra = [TaskEntry(name, registry.task(name).budget)
             for name in tasks if name in registry.all_tasks()]  # fmt: skip
    known = {entry.name: entry for entry in (*extra, *suite.tasks)}
    chosen_tasks = list(suite.tasks)
    if tasks:
        chosen_tasks = _matching("task", tasks, known, registry.all_tasks())
    if budget is not None:
        chosen_tasks = [
            replace(entry, budget=_budget("--budget", budget, entry.name)) for entry in chosen_tasks
        ]
    if seeds is not None:
        _whole("--seeds", seeds, least=1, most=MOST_SEEDS)
    narrowed = replace(
        suite,
        tasks=tuple(chosen_tasks),
        methods=tuple(chosen_methods),
        seeds=suite.seeds if seeds is None else seeds,
    )
    if not narrowed.pairs():
        raise SuiteError("nothing to run: none of the chosen methods works on the chosen tasks")
    return narrowed


def _label(pattern: str) -> str:
    return registry.method(pattern).name if pattern.endswith(".py") else pattern


def _matching(
    kind: str, patterns: Sequence[str], known: Mapping[str, T], registered: Iterable[str]
) -> list[T]:
    """The entries of the suite that match; errors also offer what it does not use."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UnknownName(kind, pattern, {*known, *registered})
    return [
        value
        for name, value in known.items()
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _suite(name: str, content: dict[str, Any]) -> Suite:
    _keys("the suite", content, KEYS)
    seeds = _whole("seeds", content.get("seeds", 3), least=1, most=MOST_SEEDS)
    suite_seed = _whole("suite_seed", content.get("suite_seed", 0), least=0, most=2**63)
    hard_limit = content.get("hard_limit")
    if hard_limit is not None:
        hard_limit = _positive("hard_limit", hard_limit, "seconds")
    tasks = [entry for table in _tables(content, "tasks") for entry in _tasks(table)]
    methods = [_method(table) for table in _tables(content, "methods")]
    _distinct("task", [entry.name for entry in tasks])
    _distinct("method label", [entry.label for entry in methods])
    for method in methods:
        for pattern in method.tasks:
            if not any(fnmatchcase(entry.name, pattern) for entry in tasks):
                raise SuiteError(f"method {method.label!r}: tasks pattern {pattern!r} fits none")
    return Suite(
        name=name,
        description=str(content.get("description", "")),
        seeds=seeds,
        suite_seed=suite_seed,
        tasks=tuple(tasks),
        methods=tuple(methods),
        hard_limit=hard_limit,
        executor=_executor(content.get("executor", {})),
        precision=_precision(content.get("precision", "float32"), tasks),
        runs_per_device=_whole(
            "runs_per_device", content.get("runs_per_device", 1), least=1, most=MOST_SHARING
        ),
    )


def _precision(value: Any, tasks: Sequence[TaskEntry]) -> str:
    known = sorted({name for entry in tasks for name in registry.task(entry.name).precisions})
    if value not in known:
        raise SuiteError(f"precision of these tasks must be {' or '.join(known)}, got {value!r}")
    chosen: str = value
    return chosen


def _executor(table: dict[str, Any]) -> dict[str, Any]:
    _keys("[executor]", table, SLURM_SETTINGS)
    for key, value in table.items():
        where, kind = f"[executor]: {key}", SLURM_SETTINGS[key]
        if kind is int:
            _whole(where, value, least=1, most=MOST_WORKERS)
        elif kind is str:
            _text("[executor]", key, table)
        elif not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SuiteError(f"{where} must be a list of strings, got {value!r}")
    return table


def _tasks(table: dict[str, Any]) -> list[TaskEntry]:
    where = f"task {table.get('name')!r}"
    _keys(where, table, {"name", "budget"})
    pattern = _text(where, "name", table)
    names = [name for name in registry.all_tasks() if fnmatchcase(name, pattern)]
    if not names:
        raise UnknownName("task", pattern, registry.all_tasks())
    entries = []
    for name in names:
        budget = table.get("budget", registry.task(name).budget)
        entries.append(TaskEntry(name, _budget(f"{where}: budget", budget, name)))
    return entries


def _method(table: dict[str, Any]) -> MethodEntry:
    where = f"method {table.get('label', table.get('name'))!r}"
    _keys(where, table, {"name", "label", "options", "tasks"})
    name = _text(where, "name", table)
    cls = registry.method(name)
    label = table.get("label", cls.name)
    if not isinstance(label, str) or not LABEL.fullmatch(label):
        raise SuiteError(f"{where}: label must be letters, digits, '-', '_' or '.', got {label!r}")
    options = table.get("options", {})
    known = set(inspect.signature(cls).parameters)
    _keys(f"{where}: options", options, known)
    try:
        json.dumps(options, allow_nan=False)  # they are stored with the results
        with registry.in_time(f"making {cls.__name__} of {name}"):
            cls(**options)
    except Exception as error:
        raise SuiteError(f"{where}: options {options}: {error}") from None
    patterns = table.get("tasks", ["*"])
    if not isinstance(patterns, list) or not all(isinstance(item, str) for item in patterns):
        raise SuiteError(f"{where}: tasks must be a list of names or patterns, got {patterns!r}")
    resolved = str(Path(name).resolve()) if name.endswith(".py") else name
    return MethodEntry(resolved, label, options, tuple(patterns))


def _tables(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    tables = content.get(key)
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise SuiteError(f"needs at least one [[{key}]] table")
    return tables


def _keys(where: str, table: Any, known: Iterable[str]) -> None:
    if not isinstance(table, dict):
        raise SuiteError(f"{where} must be a table, got {table!r}")
    for key in table:
        if key not in set(known):
            raise UnknownName(f"key in {where}:", key, known)


def _text(where: str, key: str, table: dict[str, Any]) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise SuiteError(f"{where}: needs a {key}, got {value!r}")
    return value


def _whole(where: str, value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SuiteError(f"{where} must be a whole number of at least {least}, got {value!r}")
    if value > most:
        raise SuiteError(f"{where} must be at most {most}, got {value}")
    return value


def _positive(where: str, value: Any, unit: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= MOST:
        raise SuiteError(f"{where} must be a positive number of {unit}, got {value!r}")
    return float(value)


def _budget(where: str, value: Any, task: str) -> float:
    hours = _positive(where, value, "GPU-hours")
    least = LEAST_BUDGET * registry.task(task).budget
    if hours < least:
        raise SuiteError(
            f"{where} of {hours:g} GPU-hours is less than {least:.2g}, with which no trial of "
            f"{task} would end; its default is {registry.task(task).budget:.2g}"
        )
    return hours


def _distinct(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SuiteError(f"{what} {name!r} appears twice")
