"""Checks of values from suite files and options: an error says where and what would be right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark import registry
from benchmark.registry import UnknownName
from benchmark.suite.model import SuiteError

LEAST_BUDGET = 1e-3
"""Least budget, as a share of the task's default: below it no trial would end."""
MOST = 1e9
"""Bound on numbers of seconds and GPU-hours: beyond it is a slip of the pen."""
MOST_SEEDS = 10_000


def tables(content: Mapping[str, Any], key: str, least: int = 1) -> list[dict[str, Any]]:
    found = content.get(key, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise SuiteError(f"{key} are [[{key}]] tables")
    if len(found) < least:
        raise SuiteError(f"needs at least one [[{key}]] table")
    return found


def keys(where: str, table: Any, known: Iterable[str]) -> None:
    if not isinstance(table, dict):
        raise SuiteError(f"{where} must be a table, got {table!r}")
    for key in table:
        if key not in set(known):
            raise UnknownName(f"key in {where}:", key, known)


def text(where: str, key: str, table: dict[str, Any]) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise SuiteError(f"{where}: needs a {key}, got {value!r}")
    return value


def patterns(where: str, table: dict[str, Any]) -> tuple[str, ...]:
    """`tasks`: names or patterns; every task if left out."""
    found = table.get("tasks", ["*"])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise SuiteError(f"{where}: tasks must be a list of names or patterns, got {found!r}")
    return tuple(found)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def whole(where: str, value: Any, least: int, most: int) -> int:
    if not is_number(value) or not isinstance(value, int) or value < least:
        raise SuiteError(f"{where} must be a whole number of at least {least}, got {value!r}")
    if value > most:
        raise SuiteError(f"{where} must be at most {most}, got {value}")
    return value


def positive(where: str, value: Any, unit: str) -> float:
    if not is_number(value) or not 0 < value <= MOST:
        raise SuiteError(f"{where} must be a positive number of {unit}, got {value!r}")
    return float(value)


def budget_of(where: str, value: Any, task: str) -> float:
    hours = positive(where, value, "GPU-hours")
    least = LEAST_BUDGET * registry.task(task).budget
    if hours < least:
        raise SuiteError(
            f"{where} of {hours:g} GPU-hours is less than {least:.2g}, with which no trial of "
            f"{task} would end; its default is {registry.task(task).budget:.2g}"
        )
    return hours


def distinct(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SuiteError(f"{what} {name!r} appears twice")
