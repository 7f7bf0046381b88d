"""A checked suite, and the runs it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.errors import UserError
from benchmark.runs.design import Design
from benchmark.runs.spec import RunSpec
from tasks.oracles import Oracles


class SuiteError(UserError):
    """A suite that cannot be run; the message says what, where, and what would be right."""


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits any of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True)
class TaskEntry:
    name: str
    budget: float
    file: str = ""
    """Where it is defined, as `registry.task` takes it; empty for a registered task."""


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
    file: Path
    description: str
    seeds: int
    suite_seed: int
    tasks: tuple[TaskEntry, ...]
    methods: tuple[MethodEntry, ...]
    hard_limit: float | None = None
    executor: dict[str, Any] = field(default_factory=dict)
    """Settings of the engine, which checks them when it uses them."""
    precision: str = "float32"
    """Where a task computes in it; the others compute in float32."""
    runs_per_device: int = 1
    design: Design = field(default_factory=Design)
    """The planned comparisons. Narrowing a suite leaves them as they were stated."""

    def pairs(self) -> list[tuple[TaskEntry, MethodEntry]]:
        """Tasks in order and, for each, the methods that take part in it."""
        return [pair for pair in self._asked() if registry.supports(pair[1].name, pair[0].name)]

    def refusals(self) -> Iterator[str]:
        """Methods that do not take part in a task that gives nothing but scores, and why."""
        for entry, method in self._asked():
            task = registry.task(entry.name)
            if task.oracles is Oracles and not registry.supports(method.name, entry.name):
                uses = registry.method(method.name).uses
                known = uses in ("scores", "nothing")
                needs = "is made for other tasks" if known else f"uses {uses}"
                kind = "trials" if task.fidelities else "whole trials"
                yield f"{entry.name} gives scores of {kind} alone: {method.label} {needs}"

    def _asked(self) -> list[tuple[TaskEntry, MethodEntry]]:
        """Tasks in order and, for each, the methods whose patterns it fits."""
        return [
            (task, method)
            for task in self.tasks
            for method in self.methods
            if fits(task.name, method.tasks)
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
                task_file=task.file,
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
