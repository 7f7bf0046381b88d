"""The contract that every method and task keeps: the same checks in CI and for a user.

`python -m benchmark check NAME` runs them on a new method or task, in under a minute. Each
check is a function that returns None, or says in words what is wrong.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from benchmark import calibration, registry
from benchmark.clock import BudgetExhausted, Clock, PricedClock
from benchmark.isolation import isolated
from benchmark.runner import Outcome, RunSpec, execute
from benchmark.store import effective_steps
from methods.base import Method
from tasks.base import Candidate, FreeMeter, Task

Check = Callable[[], str | None]
TASKS = ("finetune/gaussian", "finetune/gaussian-perclass", "schedule/gaussian")
"""Where methods are checked: closed form, so a run takes about a second."""
HARD_LIMIT = 60.0
"""Seconds after which a checked run, and with it the check, is ended."""
QUIET = 10_000
"""Bytes that a checked run may print."""
BUDGET_TRIALS = 6
"""Budget of a checked run, in standard trials of the task."""


class Interruption(BaseException):
    """Stands for a crash: ends a run where it is, without its leave."""


def check(name: str) -> Iterator[tuple[str, str | None]]:
    """Run the contract suite on a method or task; yields (title, what is wrong or None)."""
    for title, verify in checks(name):
        try:
            yield title, verify()
        except Exception as error:
            yield title, f"raised {type(error).__name__}: {error}"


def checks(name: str) -> list[tuple[str, Check]]:
    """The checks for a registered task, a registered method, or a method file."""
    if name in registry.all_tasks():
        return task_checks(registry.task(name))
    if name in registry.all_methods() or name.endswith(".py"):
        return method_checks(name)
    known = [*registry.all_tasks(), *registry.all_methods()]
    raise registry.UnknownName("task or method", name, known)


# -- methods --------------------------------------------------------------------------------


def method_checks(name: str) -> list[tuple[str, Check]]:
    """Contract checks of a method on the closed-form tasks it supports."""
    method = registry.method(name)
    titled: list[tuple[str, Check]] = [("declares itself", lambda: declares_method(method))]
    supported = [task for task in TASKS if method.supports(registry.task(task))]
    if not supported:
        titled.append(("supports a closed-form task", lambda: f"supports none of {TASKS}"))
    for task in supported:
        bench = MethodBench(name, task)
        titled += [
            (f"{task}: ends within its budget with an incumbent", bench.ends),
            (f"{task}: same seed, same run", bench.repeats),
            (f"{task}: an interrupted run ends the same", bench.resumes),
            (f"{task}: leaves global state alone", bench.leaves_globals),
            (f"{task}: lets the budget end it", bench.obeys),
            (f"{task}: prints little", bench.prints_little),
        ]
    return titled


def declares_method(method: type[Method]) -> str | None:
    for attribute in ("name", "citation", "uses"):
        if not isinstance(getattr(method, attribute, None), str):
            return f"{method.__name__}.{attribute} must be a string"
    if not (method.__doc__ or "").strip():
        return f"{method.__name__} needs a docstring: its first line stands in tables"
    try:
        method()
    except TypeError as error:
        return f"every option needs a default: {error}"
    return None


class MethodBench:
    """Runs one method on one task under the priced clock, in temporary folders."""

    def __init__(self, method: str, task: str) -> None:
        self.method, self.task = method, task
        self.prices = calibration.prices(task, "cpu")
        self.budget = BUDGET_TRIALS * _trial_cost(registry.task(task), self.prices)

    def spec(self, results: str) -> RunSpec:
        return RunSpec(
            suite="check", task=self.task, label="checked", method=self.method, seed=0,
            budget=self.budget / 3600, results=results, clock="priced", prices=self.prices,
            hard_limit=HARD_LIMIT,
        )  # fmt: skip

    def run(self) -> tuple[Outcome, list[dict[str, Any]]]:
        with tempfile.TemporaryDirectory() as results:
            spec = self.spec(results)
            return execute(spec), spec.folder.events()

    @cached_property
    def undisturbed(self) -> tuple[Outcome, list[dict[str, Any]], int]:
        """How a run ends, its log, and the number of primitives charged."""
        with crash_after(math.inf) as seen:
            outcome, events = self.run()
        return outcome, events, seen[0]

    @cached_property
    def repeated(self) -> tuple[list[dict[str, Any]], int, int]:
        """The log of a second run, how often it was told to end, and the bytes it printed."""
        with tempfile.TemporaryDirectory() as results, _refusals() as refusals:
            folder = self.spec(results).folder
            execute(self.spec(results))
            printed = folder.output.stat().st_size if folder.output.exists() else 0
            return folder.events(), len(refusals), printed

    def ends(self) -> str | None:
        outcome, events, _ = self.undisturbed
        if outcome.status != "finished":
            return outcome.reason
        steps = effective_steps(events)
        if not any(step["incumbent"] for step in steps):
            return "the run ended without an incumbent: evaluate or report something"
        used = events[-1]["clock"]["ledgers"]["method"]
        if used > self.budget * (1 + 1 / BUDGET_TRIALS):
            return f"charged {used:.3g} s, over a trial more than the budget of {self.budget:.3g} s"
        return None

    def repeats(self) -> str | None:
        return _difference(self.undisturbed[1], self.repeated[0])

    def resumes(self) -> str | None:
        """Crash the run in the middle of a primitive, three times, and go on each time."""
        _, expected, primitives = self.undisturbed
        with tempfile.TemporaryDirectory() as results:
            spec = self.spec(results)
            for share in (0.4, 0.1, 0.3):
                with crash_after(max(round(share * primitives), 1)):
                    execute(spec)
            outcome = execute(spec)
            if outcome.status != "finished":
                return f"failed after an interruption: {outcome.reason}"
            return _difference(expected, spec.folder.events())

    def leaves_globals(self) -> str | None:
        changed = self.repeated[0][-1].get("changed")
        return f"changed {', '.join(changed)}" if changed else None

    def obeys(self) -> str | None:
        told = self.repeated[1]
        return f"caught BudgetExhausted and went on, {told - 1} times" if told > 1 else None

    def prints_little(self) -> str | None:
        printed = self.repeated[2]
        return f"printed {printed} bytes" if printed > QUIET else None


@contextmanager
def _refusals() -> Iterator[list[None]]:
    """Yields a list that grows with each BudgetExhausted raised inside."""
    original = Clock.refuse
    seen: list[None] = []

    def refuse(self: Clock) -> NoReturn:
        seen.append(None)
        original(self)

    Clock.refuse = refuse  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Clock.refuse = original  # type: ignore[method-assign]


def _trial_cost(cls: type[Task], prices: Mapping[str, float]) -> float:
    """Seconds of a standard trial and its score under `prices`."""
    task = cls("cpu")
    task.setup()
    clock = PricedClock(math.inf, prices)
    clock.switch("method")
    task.meter = clock
    for candidate in task.iterate(cls.space.default, (1.0,), 0):
        task.score(candidate, 0)
    return clock.used + prices["trial"]


def _difference(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> str | None:
    """What differs between the steps of two runs, setup and checkpoint ledgers aside."""
    pairs = itertools.zip_longest(map(_essence, effective_steps(expected)),
                                  map(_essence, effective_steps(found)))  # fmt: skip
    for number, (one, other) in enumerate(pairs):
        if one != other:
            return f"step {number} differs: {one} became {other}"
    return None


def _essence(step: dict[str, Any]) -> dict[str, Any]:
    clock = step["clock"]
    return step | {"clock": (clock["ledgers"]["method"], clock["work"])}


@contextmanager
def crash_after(charges: float) -> Iterator[list[int]]:
    """End the run inside after some charged primitives; yields their count in a list of one."""
    original = PricedClock._end
    seen = [0]

    def crash(self: PricedClock, operation: str, count: int) -> None:
        original(self, operation, count)
        if self.ledger == "method":
            seen[0] += 1
            if seen[0] == charges:
                raise Interruption

    PricedClock._end = crash  # type: ignore[method-assign]
    try:
        yield seen
    except Interruption:
        pass
    finally:
        PricedClock._end = original  # type: ignore[method-assign]


# -- tasks ----------------------------------------------------------------------------------


def task_checks(cls: type[Task]) -> list[tuple[str, Check]]:
    """Contract checks of a task, on the CPU."""
    bench = TaskBench(cls)
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

    def __init__(self, cls: type[Task]) -> None:
        self.cls = cls

    @cached_property
    def task(self) -> Task:
        reason = self.cls.unavailable()
        if reason is not None:
            raise ValueError(f"not available here: {reason}")
        task = self.cls("cpu")
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
        prices = calibration.measure(self.cls.name, "cpu", repeats=1)
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
        return None if self.first == again else f"{self.first} became {again}"

    def metrics(self) -> str | None:
        score, found = self.first
        if not isinstance(score, float) or not math.isfinite(score):
            return f"score must be a finite float, got {score!r}"
        if set(found) != {metric.name for metric in self.task.metrics}:
            return f"evaluate gave {sorted(found)}, the task declares {self.task.metrics}"
        bad = {name: value for name, value in found.items() if not math.isfinite(value)}
        return f"not finite: {bad}" if bad else None

    def ends(self) -> str | None:
        cost = self._meter(math.inf)
        self.solve()
        clock = self._meter(3 * cost.used)
        try:
            self.solve((10 * self.FIDELITY,))
        except BudgetExhausted:
            return None
        finally:
            self.task.meter = FreeMeter()
        return f"a solve ten times as long stayed within {clock.budget:.3g} s, three times the cost"

    def resumes(self) -> str | None:
        stops = (self.FIDELITY / 2, self.FIDELITY)
        first, last = self.solve(stops)
        if first.resume is None:
            return None  # the task says that it cannot
        rest = list(self.task.iterate(first.params, stops, 0, resume=first.resume))
        if len(rest) != 1:
            return f"after the first of two stops, {len(rest)} were yielded"
        one, other = self.task.score(last, 1), self.task.score(rest[0], 1)
        return None if one == other else f"score {one} became {other}"

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
