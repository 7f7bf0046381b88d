"""Narrows a suite to what the command line asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from benchmark import registry
from benchmark.registry import UnknownName
from benchmark.suite.checks import MOST_SEEDS, whole
from benchmark.suite.file import method_entry, task_from_file, with_budget
from benchmark.suite.model import MethodEntry, Suite, SuiteError, TaskEntry, fits

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
    labelled = {entry.label: entry for entry in suite.methods}
    named = {entry.name: entry for entry in suite.tasks}
    chosen_methods = _chosen("method", methods, labelled, registry.all_methods(), _method)
    chosen_tasks = _chosen("task", tasks, named, registry.all_tasks(), _task)
    if seeds is None:
        seeds = suite.seeds
    narrowed = replace(
        suite,
        tasks=tuple(with_budget(chosen_tasks, "--budget", budget)),
        methods=tuple(chosen_methods),
        seeds=whole("--seeds", seeds, least=1, most=MOST_SEEDS),
    )
    if not narrowed.pairs():
        why = "none of the chosen methods works on the chosen tasks"
        raise SuiteError(f"nothing to run: {'; '.join(narrowed.refusals()) or why}")
    return narrowed


def _method(name: str) -> tuple[str, MethodEntry]:
    entry = method_entry({"name": name})
    return entry.label, entry


def _task(name: str) -> tuple[str, TaskEntry]:
    is_file = name.endswith(".py")
    entry = task_from_file(name) if is_file else TaskEntry(name, registry.task(name).budget)
    return entry.name, entry


def _chosen(
    kind: str,
    asked: Sequence[str],
    known: dict[str, T],
    registered: Iterable[str],
    make: Callable[[str], tuple[str, T]],
) -> list[T]:
    """The entries of the suite that fit what is asked for, and those that are made because the
    suite has none; errors also offer what it does not use."""
    known, patterns = dict(known), []
    for pattern in asked:
        name = pattern
        fitting = [other for other in known if fits(other, [pattern])]
        if pattern.endswith(".py") or (pattern in registered and not fitting):
            name, entry = make(pattern)
            if kind == "method" and name in known:
                raise SuiteError(
                    f"{pattern}: the suite has a method {name!r} already; give this one a name of "
                    "its own"
                )
            known[name] = entry
        elif not fitting:
            raise UnknownName(kind, pattern, {*known, *registered})
        patterns.append(name)
    return [entry for name, entry in known.items() if not asked or fits(name, patterns)]
