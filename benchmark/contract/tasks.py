"""The checks of a task, on a short solve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from benchmark.contract.equality import same
from benchmark.runs import calibration
from benchmark.runs.clock import BudgetExhausted, PricedClock
from benchmark.runs.isolation import isolated
from tasks.base import Candidate, FreeMeter, Task

Check = Callable[[], str | None]
"""Says in words what is wrong, or returns None."""


def task_checks(cls: type[Task], device: str = "cpu") -> list[tuple[str, Check]]:
    """Contract checks of a task."""
    bench = TaskBench(cls, device)
    return [
        ("declares itself", bench.declares),
        ("prices every primitive", bench.prices),
        ("iterate yields a candidate at each stop", bench.stops),
        ("same seed, same score and metrics", bench.repeats),
        ("evaluate returns its metrics, finite", bench.metrics),
        ("the budget can end a solve", bench.ends),
        ("a solve goes on where it was resumed", bench.resumes),
        ("images are 8-bit", bench.images),
        ("leaves global state alone", bench.leaves_globals),
    ]


class TaskBench:
    """Solves, scores and evaluates one task in small."""

    FIDELITY = 0.02

    def __init__(self, cls: type[Task], device: str) -> None:
        self.cls, self.device = cls, device

    @cached_property
    def task(self) -> Task:
        reason = self.cls.unavailable()
        if reason is not None:
            raise ValueError(f"not available here: {reason}")
        task = self.cls(self.device)
        task.setup()
        return task

    def solve(self, stops: tuple[float, ...] = (FIDELITY,)) -> list[Candidate]:
        return list(self.task.iterate(self.task.space.default, stops, 0))

    def measured(self) -> tuple[float, dict[str, float]]:
        """Score and metrics of a fresh short solve."""
        candidate = self.solve()[-1]
        return self.task.score(candidate, 1), self.task.evaluate(candidate, 2)

    @cached_property
    def first(self) -> tuple[float, dict[str, float]]:
        with isolated([]):  # the number of threads decides the last digits
            return self.measured()

    @cached_property
    def repeated(self) -> tuple[tuple[float, dict[str, float]], list[str]]:
        """Measured again, and the global settings that this changed."""
        changed: list[str] = []
        with isolated(changed):
            return self.measured(), changed

    def declares(self) -> str | None:
        cls = self.cls
        for attribute in ("name", "description", "citation", "family"):
            if not isinstance(getattr(cls, attribute, None), str):
                return f"{cls.__name__}.{attribute} must be a string"
        if not cls.metrics:
            return "needs at least one metric"
        if not cls.budget > 0:
            return f"the default budget must be positive, got {cls.budget}"
        cls.space.validate(cls.space.default)
        return None

    def prices(self) -> str | None:
        prices = calibration.measure(self.cls.name, self.device, repeats=1)
        bad = {name: price for name, price in prices.items() if not price > 0}
        if bad:
            return f"primitives without a cost: {bad}"
        clock = self._meter(math.inf, prices)
        try:
            for candidate in self.solve():
                self.task.score(candidate, 0)
                self.task.evaluate(candidate, 0)
        finally:
            self.task.meter = FreeMeter()
        return None if clock.used > 0 else "solving charges nothing"

    def _meter(self, budget: float, prices: Mapping[str, float] | None = None) -> PricedClock:
        """Put the task under a running clock, by default with equal prices."""
        clock = PricedClock(budget, prices or _EqualPrices())
        clock.switch("method")
        self.task.meter = clock
        return clock

    def stops(self) -> str | None:
        stops = (self.FIDELITY / 2, self.FIDELITY)
        found = len(self.solve(stops))
        return None if found == 2 else f"2 stops gave {found} candidates"

    def repeats(self) -> str | None:
        again, _ = self.repeated
        return None if same(self.first, again, self.device) else f"{self.first} became {again}"

    def metrics(self) -> str | None:
        score, found = self.first
        if not isinstance(score, float) or not math.isfinite(score):
            return f"score must be a finite float, got {score!r}"
        if set(found) != {metric.name for metric in self.task.metrics}:
            return f"evaluate gave {sorted(found)}, the task declares {self.task.metrics}"
        bad = {name: value for name, value in found.items() if not math.isfinite(value)}
        return f"not finite: {bad}" if bad else None

    def ends(self) -> str | None:
        longer = (10 * self.FIDELITY,)
        cost = self.cost(longer)
        # A user's script may have one length only.
        clock = self._meter(min(3 * self.cost((self.FIDELITY,)), cost / 2))
        try:
            self.solve(longer)
        except BudgetExhausted:
            return None
        finally:
            self.task.meter = FreeMeter()
        return f"a solve of {cost:.3g} s stayed within {clock.budget:.3g} s"

    def cost(self, stops: tuple[float, ...]) -> float:
        """What a solve is charged at equal prices."""
        clock = self._meter(math.inf)
        self.solve(stops)
        return clock.used

    def resumes(self) -> str | None:
        stops = (self.FIDELITY / 2, self.FIDELITY)
        first, last = self.solve(stops)
        if first.resume is None:
            return None  # the task says that it cannot
        rest = list(self.task.iterate(first.params, stops, 0, resume=first.resume))
        if len(rest) != 1:
            return f"after the first of two stops, {len(rest)} were yielded"
        one, other = self.task.score(last, 1), self.task.score(rest[0], 1)
        return None if same(one, other, self.device) else f"score {one} became {other}"

    def images(self) -> str | None:
        images = self.task.images(self.solve()[-1], 8, 0)
        if images is None or (images.dtype == np.uint8 and len(images) == 8):
            return None
        return f"expected 8 uint8 images, got {images.dtype} {images.shape}"

    def leaves_globals(self) -> str | None:
        _, changed = self.repeated
        return f"changed {', '.join(changed)}" if changed else None


class _EqualPrices(dict[str, float]):
    """One price for every operation."""

    def __contains__(self, operation: object) -> bool:
        return True

    def __missing__(self, operation: str) -> float:
        return 1e-3
