"""The budget: ledgers of device time, and the exception that ends a run.

A device-hour is device-seconds / 3600 while a method holds one device. On a CPU a device-second
is a second of processor time, so that a budget buys the same work whatever else the machine does;
on CUDA it is a second of the synchronised device. Every second stands in exactly one of four
ledgers: `method` is charged against the budget; `setup` (loading data and models, replaying a
log), `evaluation` (reported metrics) and `checkpoint` (writing) are visible but free. Wall time is
recorded beside them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmark.runs.watches import Stopwatch, device_watch
from tasks.oracles import detached

LEDGERS = ("setup", "method", "evaluation", "checkpoint")
WORK = ("nfe", "train_images", "scored_images")
OVERHEAD = "overhead"
"""Breakdown entry for charged time outside any primitive: the method's own code."""


class BudgetExhausted(BaseException):
    """Raised out of a charged call when the budget is spent.

    Not an `Exception`, so that a method's `except Exception` around a fragile fit does not
    swallow the end of its run.
    """


Callback = Callable[["Clock"], None]


class Clock(ABC):
    """Attributes seconds to ledgers and, within the charged one, to primitive operations.

    `on_charge` are called after each charged primitive, as a sign of life.
    """

    def __init__(self, budget: float, on_charge: Sequence[Callback] = ()) -> None:
        self.budget = budget
        """Seconds that may be charged."""
        self.ledgers = dict.fromkeys(LEDGERS, 0.0)
        self.breakdown: dict[str, float] = {}
        """Charged seconds by operation."""
        self.work: Counter[str] = Counter(dict.fromkeys(WORK, 0))
        self.refusals = 0
        """How often BudgetExhausted was raised: more than once if a method caught it."""
        self._on_charge = on_charge
        self._stopwatch = Stopwatch()
        self._wall = 0.0
        self.ledger = "setup"
        """The ledger that is running; see `switch`."""
        self._operation: str | None = None

    @property
    def used(self) -> float:
        """Seconds charged so far."""
        self._read()
        return self.ledgers["method"]

    @property
    def progress(self) -> float:
        """Share of the budget that is used, at most 1."""
        return min(self.used / self.budget, 1.0)

    @property
    def wall(self) -> float:
        """Seconds of wall time, earlier sessions of the run included."""
        self._wall += self._stopwatch.lap()
        return self._wall

    def carry(self, ledgers: Mapping[str, float], wall: float) -> None:
        """Continue from the ledgers and the wall time of earlier sessions."""
        self.ledgers.update(ledgers)
        self._wall += wall

    def switch(self, ledger: str) -> None:
        """Close the running ledger and continue in `ledger`."""
        self._read()
        self.ledger = ledger

    @contextmanager
    def enter(self, ledger: str) -> Iterator[None]:
        """Book the time spent inside to `ledger`."""
        outside = self.ledger
        self.switch(ledger)
        try:
            yield
        finally:
            self.switch(outside)

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        """Account for `count` units of a primitive `operation` (see `tasks.base.Meter`).

        Raises BudgetExhausted before the primitive starts if the budget is already spent;
        so a run oversteps its budget by one primitive at most.
        """
        self.require_budget()
        charged = self.ledger == "method"
        self._begin(operation)
        try:
            yield
        finally:
            self._end(operation, count)
        if charged:
            self.work.update(work)
            for call in self._on_charge:
                call(self)

    def require_budget(self) -> None:
        """Raise BudgetExhausted if time is charged and none is left."""
        if self.ledger != "method":
            return
        self._glance()
        if self.ledgers["method"] >= self.budget:
            self.refusals += 1
            raise BudgetExhausted

    def snapshot(self) -> dict[str, Any]:
        """Everything needed to continue later, as plain JSON values."""
        self._read()
        return {
            "ledgers": dict(self.ledgers),
            "breakdown": dict(self.breakdown),
            "work": dict(self.work),
            "wall": self.wall,
        }

    def rewind(self, snapshot: Mapping[str, Any]) -> None:
        """Take the charged ledger, its breakdown and the work counts from `snapshot`.

        Seconds charged beyond it were for work that is done again: they move to `setup`, and
        back from there as a replay comes to what they bought.
        """
        self._read()
        charged = snapshot["ledgers"]["method"]
        moved = self.ledgers["method"] - charged
        self.ledgers["setup"] = max(self.ledgers["setup"] + moved, 0.0)
        self.ledgers["method"] = charged
        self.breakdown = dict(snapshot["breakdown"])
        self.work = Counter(snapshot["work"])

    def _book(self, seconds: float, operation: str) -> None:
        self.ledgers[self.ledger] += seconds
        if self.ledger == "method":
            self.breakdown[operation] = self.breakdown.get(operation, 0.0) + seconds

    @abstractmethod
    def _read(self) -> None:
        """Bring the running ledger up to date."""

    @abstractmethod
    def _glance(self) -> None:
        """Bring the running ledger up to date as far as that costs nothing."""

    @abstractmethod
    def _begin(self, operation: str) -> None: ...

    @abstractmethod
    def _end(self, operation: str, count: int) -> None: ...


class NarrowMeter:
    """A clock as a task sees it: work is charged to it, and nothing else can be done."""

    def __init__(self, clock: Clock) -> None:
        self.charge = detached(clock.charge)


class DeviceClock(Clock):
    """Measured time: of the processors on a CPU, wall time of the synchronised device on CUDA."""

    def __init__(
        self, budget: float, device: str = "cpu", on_charge: Sequence[Callback] = ()
    ) -> None:
        super().__init__(budget, on_charge)
        self._watch = device_watch(device)

    def _read(self) -> None:
        self._book(self._watch.lap(), self._operation or OVERHEAD)

    def _glance(self) -> None:
        self._book(self._watch.glance(), self._operation or OVERHEAD)

    def _begin(self, operation: str) -> None:
        self._operation = operation

    def _end(self, operation: str, count: int) -> None:
        self._glance()
        self._operation = None


class PricedClock(Clock):
    """Time as counted work: each primitive costs its calibrated price times its count.

    A run under this clock is a deterministic function of its seed, whatever else the machine
    is doing. A method's own code is free here, except for the price of a `trial`.
    """

    def __init__(
        self, budget: float, prices: Mapping[str, float], on_charge: Sequence[Callback] = ()
    ) -> None:
        super().__init__(budget, on_charge)
        self.prices = prices

    def _read(self) -> None:
        pass

    _glance = _read

    def _begin(self, operation: str) -> None:
        try:
            self.prices[operation]
        except KeyError:
            raise KeyError(
                f"no price for operation {operation!r}; priced are {sorted(self.prices)}. "
                "A task's `rehearse` must run every primitive once."
            ) from None

    def _end(self, operation: str, count: int) -> None:
        self._book(self.prices[operation] * count, operation)


class LoggedClock(Clock):
    """Time as a stored run has it: what had been charged to it when it had done the same work.

    `snapshots` are those of its log in order; between two of them, and beyond the last, time goes
    on evenly with the work. So a repetition of the run, on a machine of any speed, is told at each
    of its steps what the run was told there. `pace` multiplies all times.
    """

    def __init__(
        self, budget: float, snapshots: Sequence[Mapping[str, Any]], pace: float = 1.0
    ) -> None:
        super().__init__(budget)
        points = [(sum(s["work"].values()), pace * s["ledgers"]["method"]) for s in snapshots]
        work, seconds = np.array([(0, 0.0), *points]).T
        self._points = np.append(work, 2 * work[-1]), np.append(seconds, 2 * seconds[-1])

    def _read(self) -> None:
        if self.ledger == "method":
            done = sum(self.work.values())
            self.ledgers["method"] = float(np.interp(done, *self._points))

    _glance = _read

    def _begin(self, operation: str) -> None:
        pass

    def _end(self, operation: str, count: int) -> None:
        pass
