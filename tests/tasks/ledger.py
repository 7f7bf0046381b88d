"""A meter that remembers its charges, for tests of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Ledger:
    """A meter that remembers its charges."""

    def __init__(self) -> None:
        self.charges: list[tuple[str, int, dict[str, int]]] = []

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        self.charges.append((operation, count, work))
        yield

    def total(self, operation: str) -> int:
        return sum(count for name, count, _ in self.charges if name == operation)
