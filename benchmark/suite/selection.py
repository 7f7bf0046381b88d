"""Narrows a suite to what the command line asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TypeVar

from benchmark import registry
from benchmark.registry import UnknownName
from benchmark.suite.checks import MOST_SEEDS, budget_of, whole
from benchmark.suite.file import method_entry, task_from_file
from benchmark.suite.model import Suite, SuiteError, TaskEntry

T = TypeVar("T")


def select(
    suite: Suite,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
    budget: float | None = None,
) -> Suite:
    """Narrow a suite to task and method patterns, and override seeds and budget.

    A method or task given as a `.py` path, or by a registered name that the suite does not use, is
    added. A pattern that matches nothing is an error.
    """
    entries = list(suite.methods)
    for pattern in methods:
        labels = [entry.label for entry in entries]
        if pattern.endswith(".py") or (
            not any(fnmatchcase(label, pattern) for label in labels)
            and pattern in registry.all_methods()
        ):
            entries.append(method_entry({"name": pattern}))
            if entries[-1].label in labels:
                raise SuiteError(
                    f"{pattern}: the suite has a method {entries[-1].label!r} already; "
                    "give this one a name of its own"
                )
    wanted = [_label(pattern) for pattern in methods]
    labelled = {entry.label: entry for entry in entries}
    chosen_methods = _matching("method", wanted, labelled, registry.all_methods())
    files = [task_from_file(name) for name in tasks if name.endswith(".py")]
    extra = [
        TaskEntry(name, registry.task(name).budget)
        for name in tasks
        if name in registry.all_tasks()
    ]
    known = {entry.name: entry for entry in (*extra, *suite.tasks, *files)}
    chosen_tasks = list(suite.tasks)
    if tasks:
        given = iter(files)
        patterns = [next(given).name if name.endswith(".py") else name for name in tasks]
        chosen_tasks = _matching("task", patterns, known, registry.all_tasks())
    if budget is not None:
        chosen_tasks = [
            replace(entry, budget=budget_of("--budget", budget, entry.name))
            for entry in chosen_tasks
        ]
    if seeds is not None:
        whole("--seeds", seeds, least=1, most=MOST_SEEDS)
    narrowed = replace(
        suite,
        tasks=tuple(chosen_tasks),
        methods=tuple(chosen_methods),
        seeds=suite.seeds if seeds is None else seeds,
    )
    if not narrowed.pairs():
        why = "none of the chosen methods works on the chosen tasks"
        raise SuiteError(f"nothing to run: {'; '.join(narrowed.refusals()) or why}")
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
