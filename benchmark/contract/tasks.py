"""The checks of a task, on a short solve."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

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


class Measured(NamedTuple):
    """What a short solve gave, the names of what it charged, the global settings it changed."""

    candidates: list[Candidate]
    score: float
    metrics: dict[str, float]
    operations: set[str]
    changed: list[str]


class TaskBench:
    """Solves, scores and evaluates one task in small."""

    FIDELITY = 0.02
    STOPS = (FIDELITY / 2, FIDELITY)

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

    def solve(self, stops: tuple[float, ...] = STOPS) -> list[Candidate]:
        return list(self.task.iterate(self.task.space.default, stops, 0))

    def measured(self) -> Measured:
        """Candidates of a fresh short solve; score and metrics of the last one."""
        changed: list[str] = []
        self.task.meter = meter = calibration.PriceMeter(self.device)
        with isolated(changed):  # also because the number of threads decides the last digits
            candidates = self.solve()
            score = self.task.score(candidates[-1], 1)
            metrics = self.task.evaluate(candidates[-1], 2)
        self.task.meter = FreeMeter()
        return Measured(candidates, score, metrics, set(meter.prices()), changed)

    @cached_property
    def first(self) -> Measured:
        return self.measured()

    @cached_property
    def repeated(self) -> Measured:
        return self.measured()

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
        if not self.first.operations:
            return "solving charges nothing"
        prices = calibration.rehearse(self.task, repeats=1)
        self.task.meter = FreeMeter()
        bad = {name: price for name, price in prices.items() if not price > 0}
        if bad:
            return f"primitives without a cost: {bad}"
        missing = self.first.operations - prices.keys()
        return f"primitives that `rehearse` leaves out: {sorted(missing)}" if missing else None

    def stops(self) -> str | None:
        found = len(self.first.candidates)
        return None if found == len(self.STOPS) else f"2 stops gave {found} candidates"

    def repeats(self) -> str | None:
        one, other = (m[1:3] for m in (self.first, self.repeated))
        return None if same(one, other, self.device) else f"{one} became {other}"

    def metrics(self) -> str | None:
        score, found = self.first.score, self.first.metrics
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

    def _meter(self, budget: float) -> PricedClock:
        """Put the task under a running clock with equal prices."""
        clock = PricedClock(budget, defaultdict(lambda: 1e-3))
        clock.switch("method")
        self.task.meter = clock
        return clock

    def resumes(self) -> str | None:
        first = self.first.candidates[0]
        if first.resume is None:
            return None  # the task says that it cannot
        with isolated([]):
            rest = list(self.task.iterate(first.params, self.STOPS, 0, resume=first.resume))
            if len(rest) != 1:
                return f"after the first of two stops, {len(rest)} were yielded"
            one, other = self.first.score, self.task.score(rest[0], 1)
        return None if same(one, other, self.device) else f"score {one} became {other}"

    def images(self) -> str | None:
        images = self.task.images(self.first.candidates[-1], 8, 0)
        if images is None or (images.dtype == np.uint8 and len(images) == 8):
            return None
        return f"expected 8 uint8 images, got {images.dtype} {images.shape}"

    def leaves_globals(self) -> str | None:
        changed = self.repeated.changed
        return f"changed {', '.join(changed)}" if changed else None
