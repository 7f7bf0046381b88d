"""Checks of a table in a suite file that states a task. Errors are ValueErrors of one line, which
begin where the name of the file and the task end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


def known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest one that is known, for the first name that is not."""
    known = list(known)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"unknown {what} {name!r}; {hint}")


def keys(table: Mapping[str, Any], required: Iterable[str], optional: Iterable[str]) -> None:
    """Raise ValueError unless the table has all of the required keys and no unknown ones."""
    known("key", table, (*required, "kind", *optional))
    if lacking := [key for key in required if key not in table]:
        raise ValueError(f"needs a {lacking[0]}")


def texts(table: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise ValueError unless those of the keys that are there hold texts."""
    for key in keys:
        if not isinstance(table.get(key, "text"), str) or not table.get(key, "text").strip():
            raise ValueError(f"{key} must be a text, got {table[key]!r}")


def positive(table: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise ValueError unless those of the keys that are there hold positive numbers."""
    for key in keys:
        if key in table and not (is_number(table[key]) and table[key] > 0):
            raise ValueError(f"{key} must be a positive number, got {table[key]!r}")


def whole(key: str, value: Any, least: int) -> int:
    """A whole number of at least `least`. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{key} must be a whole number of at least {least}, got {value!r}")
    return value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
