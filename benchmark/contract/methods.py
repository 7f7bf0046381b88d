"""The checks of a method, on small tasks under the priced clock."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

from benchmark import registry
from benchmark.contract.equality import same
from benchmark.contract.tasks import Check
from benchmark.runs import calibration
from benchmark.runs.clock import Clock, PricedClock
from benchmark.runs.log import effective_steps
from benchmark.runs.runner import execute
from benchmark.runs.spec import Outcome, RunSpec
from methods.base import Method
from tasks.base import Task

TASKS = {
    "finetune/gaussian": 12, "finetune/gaussian-perclass": 12, "finetune/gaussian-trained": 6,
    "schedule/gaussian": 3,
}  # fmt: skip
"""Where methods are checked: closed form, so that with a budget of so many standard trials a run
takes about a second."""
HARD_LIMIT = 300.0
"""Seconds after which a checked run, and with it the check, is ended."""
QUIET = 10_000
"""Bytes that a checked run may print."""


class Interruption(BaseException):
    """Stands for a crash: ends a run where it is."""


def method_checks(name: str, device: str = "cpu") -> list[tuple[str, Check]]:
    """Contract checks of a method on the closed-form tasks it supports."""
    method = registry.method(name)
    titled: list[tuple[str, Check]] = [("declares itself", lambda: declares_method(method))]
    supported = [task for task in TASKS if method.supports(registry.task(task))]
    if not supported:
        titled.append(("supports a closed-form task", lambda: f"supports none of {list(TASKS)}"))
    for task in supported:
        bench = MethodBench(name, task, device)
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
        if not isinstance(getattr(method, attribute), str):
            return f"{method.__name__}.{attribute} must be a string"
    try:
        method()
    except TypeError as error:
        return f"every option needs a default: {error}"
    return None


class Run(NamedTuple):
    """How a run ended, its log, how many primitives it charged, how many bytes it printed."""

    outcome: Outcome
    events: list[dict[str, Any]]
    charges: int
    printed: int


class MethodBench:
    """Runs one method on one task under the priced clock, in temporary folders."""

    def __init__(self, method: str, task: str, device: str) -> None:
        self.method, self.task, self.device = method, task, device
        self.prices = calibration.prices(task, device)
        self.trial = _trial_cost(registry.task(task)(device), self.prices)
        self.budget = TASKS[task] * self.trial

    def spec(self, results: str) -> RunSpec:
        return RunSpec(
            suite="check", task=self.task, label="checked", method=self.method, seed=0,
            budget=self.budget / 3600, results=results, clock="priced", prices=self.prices,
            device=self.device, hard_limit=HARD_LIMIT,
        )  # fmt: skip

    @cached_property
    def undisturbed(self) -> Run:
        with tempfile.TemporaryDirectory() as results:
            spec, counting = self.spec(results), Crash()
            outcome = execute(spec, counting)
            printed = spec.folder.output
            return Run(outcome, spec.folder.events(), counting.charges,
                       printed.stat().st_size if printed.exists() else 0)  # fmt: skip

    def ends(self) -> str | None:
        outcome, events, *_ = self.undisturbed
        if outcome.status != "finished":
            return outcome.reason
        steps = effective_steps(events)
        if not any(step["incumbent"] for step in steps):
            return "the run ended without an incumbent: evaluate or report something"
        used = events[-1]["clock"]["ledgers"]["method"]
        if used > self.budget + self.trial:
            return f"charged {used:.3g} s, over a trial more than the budget of {self.budget:.3g} s"
        return None

    def repeats(self) -> str | None:
        """An interrupted run that ends the same is a second run of the seed; else, make one."""
        if self.interrupted is None:
            return None
        with tempfile.TemporaryDirectory() as results:
            execute(self.spec(results))
            return self._difference(self.spec(results).folder.events())

    def resumes(self) -> str | None:
        return self.interrupted

    @cached_property
    def interrupted(self) -> str | None:
        """What differs if a run crashes in the middle of a primitive, three times, and goes on each
        time."""
        with tempfile.TemporaryDirectory() as results:
            spec = self.spec(results)
            for share in (0.4, 0.1, 0.3):
                crash(spec, max(round(share * self.undisturbed.charges), 1))
            outcome = execute(spec)
            if outcome.status != "finished":
                return f"failed after an interruption: {outcome.reason}"
            return self._difference(spec.folder.events())

    def _difference(self, found: list[dict[str, Any]]) -> str | None:
        """What differs from the undisturbed run, setup and checkpoint ledgers aside."""
        pairs = itertools.zip_longest(map(essence, effective_steps(self.undisturbed.events)),
                                      map(essence, effective_steps(found)))  # fmt: skip
        for number, (one, other) in enumerate(pairs):
            if not same(one, other, self.device):
                return f"step {number} differs: {one} became {other}"
        return None

    def leaves_globals(self) -> str | None:
        changed = self.undisturbed.events[-1].get("changed")
        return f"changed {', '.join(changed)}" if changed else None

    def obeys(self) -> str | None:
        told = self.undisturbed.events[-1]["refusals"]
        return f"caught BudgetExhausted and went on, {told - 1} times" if told > 1 else None

    def prints_little(self) -> str | None:
        printed = self.undisturbed.printed
        return f"printed {printed} bytes" if printed > QUIET else None


def _trial_cost(task: Task, prices: Mapping[str, float]) -> float:
    """Seconds of a standard trial and its score under `prices`."""
    task.setup()
    clock = PricedClock(math.inf, prices)
    clock.switch("method")
    task.meter = clock
    for candidate in task.iterate(task.space.default, (1.0,), 0):
        task.score(candidate, 0)
    return clock.used + prices["trial"]


def essence(step: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one seed share in a step."""
    clock = step["clock"]
    return step | {"clock": (clock["ledgers"]["method"], clock["work"])}


class Crash:
    """Ends a run after some charged primitives, as a killed process would; counts them."""

    def __init__(self, after: float = math.inf) -> None:
        self.after = after
        self.charges = 0

    def __call__(self, clock: Clock) -> None:
        self.charges += 1
        if self.charges == self.after:
            raise Interruption


def crash(spec: RunSpec, after: float) -> None:
    """Execute `spec` until it has charged so many primitives."""
    with suppress(Interruption):
        execute(spec, Crash(after))
