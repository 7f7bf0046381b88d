"""Planned contrasts of a suite file: labels and groups of methods, made into one row per task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmark import registry
from benchmark.registry import UnknownName
from benchmark.runs.design import SMALLEST_EFFECT, TARGETS, Contrast, Design
from benchmark.suite.checks import distinct, is_number, keys, patterns, tables, text
from benchmark.suite.model import MethodEntry, SuiteError, TaskEntry, fits

BEST = "best:"
"""Prefix of a group of methods in `against`."""
Pairs = Sequence[tuple[TaskEntry, MethodEntry]]


def read(content: Mapping[str, Any], methods: Sequence[MethodEntry], pairs: Pairs) -> Design:
    """The design of a suite file whose methods take part in `pairs`. Raises SuiteError."""
    labels = [entry.label for entry in methods]
    focus = content.get("focus")
    if focus is not None:
        _known("focus", focus, labels)
    effect = content.get("smallest_effect", SMALLEST_EFFECT)
    if not is_number(effect) or not 0 <= effect < 1:
        raise SuiteError(f"smallest_effect must be at least 0 and below 1, got {effect!r}")
    targets = content.get("targets", list(TARGETS))
    if not isinstance(targets, list) or not all(is_number(value) for value in targets):
        raise SuiteError(f"targets must be a list of shares such as [0.5, 0.9], got {targets!r}")
    stated = tables(content, "contrasts", least=0)
    distinct("contrast", [text("contrast", "name", table) for table in stated])
    rows = [row for table in stated for row in _contrasts(table, focus, methods, pairs)]
    return Design(focus, float(effect), tuple(map(float, targets)), tuple(rows))


def _contrasts(
    table: dict[str, Any], focus: str | None, methods: Sequence[MethodEntry], pairs: Pairs
) -> Iterator[Contrast]:
    where = f"contrast {table['name']!r}"
    keys(where, table, {"name", "tasks", "method", "against"})
    method = table.get("method", focus)
    if method is None:
        raise SuiteError(f"{where}: needs a method, or the suite a focus")
    labels = [entry.label for entry in methods]
    _known(f"{where}: method", method, labels)
    against, named = _against(where, table.get("against"), method, methods)
    wanted = patterns(where, table)
    taking_part: dict[str, set[str]] = {}
    for entry, partner in pairs:
        taking_part.setdefault(entry.name, set()).add(partner.label)
    chosen = [task for task in taking_part if fits(task, wanted)]
    if not chosen:
        raise SuiteError(f"{where}: tasks {list(wanted)} fit none of the suite's tasks")
    for task in chosen:
        present = tuple(label for label in against if label in taking_part[task])
        absent = [label for label in (method, *named) if label not in taking_part[task]]
        if absent or not present:
            who = absent[0] if absent else f"no method of {table['against']!r}"
            raise SuiteError(
                f"{where}: {who} does not take part in {task}; name the contrast's tasks by "
                "`tasks = [...]`"
            )
        yield Contrast(table["name"], task, method, present)


def _against(
    where: str, value: Any, method: str, methods: Sequence[MethodEntry]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels that the method is compared with, and those of them that must be on every task: the
    ones that are named, while a group is what there is of it on a task."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not entries:
        raise SuiteError(
            f"{where}: against must be a label, 'best:GROUP' or a list of these, got {value!r}"
        )
    labels = [entry.label for entry in methods]
    groups = {entry.label: registry.method(entry.name).group for entry in methods}
    found, named = [], []
    for entry in entries:
        if isinstance(entry, str) and entry.startswith(BEST):
            group = entry.removeprefix(BEST)
            members = [x for x in labels if groups[x] == group and x != method]
            if not members:
                known = {own for own in groups.values() if own}
                raise UnknownName(f"group in {where}:", group, known)
            found += members
        else:
            _known(f"{where}: against", entry, labels)
            named.append(entry)
            found.append(entry)
    if method in named:
        raise SuiteError(f"{where}: {method!r} is compared with itself")
    distinct(f"{where}: method", found)
    return tuple(found), tuple(named)


def _known(where: str, label: Any, labels: Sequence[str]) -> None:
    if not isinstance(label, str):
        raise SuiteError(f"{where} must be the label of a method, got {label!r}")
    if label not in labels:
        raise UnknownName(f"label in {where}:", label, labels)
