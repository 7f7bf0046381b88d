"""Seeds of one run, each hashed from named axes: stateless, so that a resumed run draws the same.

Randomness that all methods share is seeded by (suite seed, task, run seed) and its purpose, never
by the method: initial weights, the order of data, and the noise of scores and of reported
metrics are the same for every method of a run seed, so that differences are paired.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

TRAINING = "training"
"""Axis of the seed of a single-run method's one long training, and of a search's first trial."""


def hashed_seed(*axes: str | int) -> int:
    """A 63-bit seed from named axes; the same axes always give the same seed."""
    digest = hashlib.blake2b("/".join(map(str, axes)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True)
class Seeds:
    """The seeds of one run."""

    suite_seed: int
    task: str
    run_seed: int

    def of(self, *axes: str | int) -> int:
        """A 63-bit seed for what `axes` name."""
        return hashed_seed(self.suite_seed, self.task, self.run_seed, *axes)

    def for_method(self, *axes: str | int) -> int:
        """A seed below 2**32, which every library takes; the same for every method that asks."""
        return self.of("method", *axes) % 2**32

    def trial(self, number: int) -> int:
        """The seed of a method's trial `number`, counted from 0."""
        return self.of("trial", number) if number else self.for_method(TRAINING)
