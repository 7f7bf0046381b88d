"""The budget: ledgers of device time, and the exception that ends a run.

A GPU-hour is device-seconds / 3600 while a method holds one device. Every second of a run
stands in exactly one of four ledgers: `method` is charged against the budget; `setup`
(loading data and models, replaying a log), `evaluation` (reported metrics) and `checkpoint`
(writing) are visible but free.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from tasks.oracles import detached

LEDGERS = ("setup", "method", "evaluation", "checkpoint")
WORK = ("nfe", "train_images", "scored_images")
OVERHEAD = "overhead"
"""Breakdown entry for charged time outside any primitive: the method's own code."""
DEFIANCE = 100
"""Refused charges after which a method is taken to ignore the end of its budget."""


class BudgetExhausted(BaseException):
    """Raised out of a charged call when the budget is spent.

    Not an `Exception`, so that a method's `except Exception` around a fragile fit does not
    swallow the end of its run.
    """


class Clock(ABC):
    """Attributes seconds to ledgers and, within the charged one, to primitive operations."""

    def __init__(self, budget: float) -> None:
        self.budget = budget
        """Seconds that may be charged."""
        self.ledgers = dict.fromkeys(LEDGERS, 0.0)
        self.breakdown: dict[str, float] = {}
        """Charged seconds by operation."""
        self.work: Counter[str] = Counter(dict.fromkeys(WORK, 0))
        self.on_charge: Callable[[], None] = lambda: None
        """Called after each charged primitive (sign of life)."""
        self.refusals = 0
        """How often BudgetExhausted was raised: more than once if a method caught it."""
        self.on_defiance: Callable[[], None] = lambda: None
        """Called when a method keeps going after its budget has ended."""
        self._ledger = "setup"
        self._operation: str | None = None

    @property
    def used(self) -> float:
        """Seconds charged so far."""
        self._read()
        return self.ledgers["method"]

    @property
    def ledger(self) -> str:
        """The ledger that is running."""
        return self._ledger

    def switch(self, ledger: str) -> None:
        """Close the running ledger and go on in `ledger`."""
        self._read()
        self._ledger = ledger

    @contextmanager
    def enter(self, ledger: str) -> Iterator[None]:
        """Book what happens inside to `ledger`."""
        outside = self._ledger
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
        charged = self._ledger == "method"
        if charged and self._now_used() >= self.budget:
            self.refuse()
        self._begin(operation)
        try:
            yield
        finally:
            self._end(operation, count)
        if charged:
            self.work.update(work)
            self.on_charge()

    def refuse(self) -> NoReturn:
        """Raise BudgetExhausted."""
        self.refusals += 1
        if self.refusals > DEFIANCE:
            self.on_defiance()
        raise BudgetExhausted

    def snapshot(self) -> dict[str, Any]:
        """Everything needed to go on later, as plain JSON values."""
        self._read()
        return {
            "ledgers": dict(self.ledgers),
            "breakdown": dict(self.breakdown),
            "work": dict(self.work),
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
        self.ledgers[self._ledger] += seconds
        if self._ledger == "method":
            self.breakdown[operation] = self.breakdown.get(operation, 0.0) + seconds

    def _now_used(self) -> float:
        return self.used

    @abstractmethod
    def _read(self) -> None:
        """Bring the running ledger up to date."""

    @abstractmethod
    def _begin(self, operation: str) -> None: ...

    @abstractmethod
    def _end(self, operation: str, count: int) -> None: ...


class NarrowMeter:
    """A clock as a task sees it: work is charged to it, and nothing else can be done."""

    def __init__(self, clock: Clock) -> None:
        self.charge = detached(clock.charge)


class Stopwatch:
    """Seconds from lap to lap, by the performance counter.

    Clocks are set, and leap when a machine wakes up. Where the counter and the time of day
    disagree by more than `LEAP`, one of them leapt, and the lap is the shorter that is possible.
    """

    LEAP = 1.0

    def __init__(self) -> None:
        self._counter, self._time = time.perf_counter(), time.time()

    def running(self) -> float:
        """Seconds since the last lap."""
        return self._elapsed(time.perf_counter(), time.time())

    def lap(self) -> float:
        """Seconds since the last lap; the next one begins."""
        counter, clock_time = time.perf_counter(), time.time()
        elapsed = self._elapsed(counter, clock_time)
        self._counter, self._time = counter, clock_time
        return elapsed

    def _elapsed(self, counter: float, clock_time: float) -> float:
        counted, passed = counter - self._counter, clock_time - self._time
        if abs(counted - passed) <= self.LEAP and counted >= 0:
            return counted
        return min((seconds for seconds in (counted, passed) if seconds >= 0), default=0.0)


class DeviceClock(Clock):
    """Measured time. On CUDA the device is synchronised at every reading."""

    SYNC_INTERVAL = 0.02
    """Seconds within which a CUDA reading is not repeated: a synchronisation per primitive
    would stall the device, so a run may overstep its budget by this much more."""

    def __init__(self, budget: float, device: str = "cpu") -> None:
        super().__init__(budget)
        self._synchronize: Callable[[], None] = lambda: None
        self._interval = 0.0
        if device.startswith("cuda"):
            import torch

            self._synchronize = lambda: torch.cuda.synchronize(device)
            self._interval = self.SYNC_INTERVAL
        self._watch = Stopwatch()

    def _read(self) -> None:
        self._synchronize()
        self._book(self._watch.lap(), self._operation or OVERHEAD)

    def _now_used(self) -> float:
        if self._watch.running() >= self._interval:
            self._read()
        return self.ledgers["method"]

    def _begin(self, operation: str) -> None:
        self._operation = operation

    def _end(self, operation: str, count: int) -> None:
        if self._watch.running() >= self._interval:
            self._read()
        self._operation = None


class PricedClock(Clock):
    """Time as counted work: each primitive costs its calibrated price times its count.

    A run under this clock is a deterministic function of its seed, whatever else the machine
    is doing. A method's own code is free here, except for the price of a `trial`.
    """

    def __init__(self, budget: float, prices: Mapping[str, float]) -> None:
        super().__init__(budget)
        self.prices = prices

    def _read(self) -> None:
        pass

    def _begin(self, operation: str) -> None:
        if operation not in self.prices:
            raise KeyError(
                f"no price for operation {operation!r}; priced are {sorted(self.prices)}. "
                "A task's `rehearse` must run every primitive once."
            )

    def _end(self, operation: str, count: int) -> None:
        self._book(self.prices[operation] * count, operation)


class Calibration:
    """A meter that measures the price of each primitive: seconds per unit of count.

    The price is the median over charges, so that a first slow call does not set it.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._clock = DeviceClock(float("inf"), device)
        self._samples: dict[str, list[float]] = {}

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        self._clock._read()
        start = time.perf_counter()
        yield
        self._clock._read()
        elapsed = time.perf_counter() - start
        self._samples.setdefault(operation, []).append(elapsed / max(count, 1))

    def prices(self) -> dict[str, float]:
        from statistics import median

        return {name: median(samples) for name, samples in self._samples.items()}
