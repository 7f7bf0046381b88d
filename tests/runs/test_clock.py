import contextlib
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.runs.calibration import PriceMeter
from benchmark.runs.clock import (
    LEDGERS,
    BudgetExhausted,
    DeviceClock,
    NarrowMeter,
    PricedClock,
)
from benchmark.runs.watches import ProcessorWatch, Stopwatch

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("switch"), st.sampled_from(LEDGERS)),
        st.tuples(st.just("charge"), st.integers(0, 50)),
    ),
    max_size=60,
)


@given(events=EVENTS, budget=st.floats(0.01, 5.0))
def test_priced_clock_charges_only_the_method_and_oversteps_by_one_primitive(events, budget):
    clock = PricedClock(budget, {"step": 0.1})
    expected, total, nfe = 0.0, 0.0, 0
    for kind, value in events:
        if kind == "switch":
            clock.switch(value)
            continue
        spent = clock.ledger == "method" and expected >= budget
        try:
            with clock.charge("step", count=value, nfe=value):
                pass
        except BudgetExhausted:
            assert spent
            continue
        assert not spent
        total += 0.1 * value
        if clock.ledger == "method":
            expected += 0.1 * value
            nfe += value
    assert clock.used == pytest.approx(expected)
    assert sum(clock.ledgers.values()) == pytest.approx(total)
    assert clock.work["nfe"] == nfe
    assert clock.used <= budget + 0.1 * 50


class Clocks:
    """A performance counter and a time of day that advance together, until one leaps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.counter_ahead = self.day_ahead = 0.0

    def perf_counter(self) -> float:
        return self.now + self.counter_ahead

    def time(self) -> float:
        return self.now + self.day_ahead


@given(
    steps=st.lists(st.tuples(st.floats(0, 50), st.floats(-1e4, 1e4), st.booleans()), max_size=30)
)
def test_laps_add_up_to_the_time_that_passed_whichever_clock_leaps(steps):
    clocks = Clocks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.runs.watches.time", clocks)
        watch, laps = Stopwatch(), []
        for seconds, leap, of_day in steps:
            clocks.now += seconds
            if abs(leap) > seconds + 1:  # a shorter one could be time that passed
                clocks.counter_ahead += 0.0 if of_day else leap
                clocks.day_ahead += leap if of_day else 0.0
            laps.append(watch.lap())
    assert min(laps, default=0) >= 0
    assert sum(laps) == pytest.approx(clocks.now, abs=1e-6)


def burn(seconds: float) -> float:
    """Keep a thread busy for so much of its own processor time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return seconds


def test_device_clock_charges_the_methods_own_code_as_overhead():
    clock = DeviceClock(1e9)
    clock.switch("method")
    burn(0.02)
    with clock.charge("step"):
        burn(0.03)
    assert clock.used >= 0.05
    assert clock.breakdown["overhead"] >= 0.02
    assert clock.breakdown["step"] >= 0.03


def test_ledgers_add_up_to_processor_time_and_waiting_is_free():
    clock, watch = DeviceClock(1e9), ProcessorWatch()
    for ledger in LEDGERS:
        clock.switch(ledger)
        burn(0.01)
        with clock.charge("step"):
            time.sleep(0.1)
    clock.switch("setup")
    total = sum(clock.ledgers.values())
    assert 0.04 <= total == pytest.approx(watch.lap(), abs=0.02)
    assert clock.wall >= 0.4 > 2 * total
    assert sum(clock.breakdown.values()) == pytest.approx(clock.ledgers["method"], abs=1e-6)


def test_all_threads_are_charged():
    clock = DeviceClock(1e9)
    clock.switch("method")
    threads = [threading.Thread(target=burn, args=(0.1,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.used >= 0.3


def test_threads_of_others_are_not_charged():
    """Those of a worker, which is alive all the time however long a run takes."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            burn(0.01)

    other = threading.Thread(target=work)
    other.start()
    clock, whole = DeviceClock(1e9), time.process_time()
    clock.switch("method")
    burn(0.1)
    time.sleep(0.3)
    charged, whole = clock.used, time.process_time() - whole
    over.set()
    other.join()
    assert 0.09 <= charged < 0.6 * whole
    before = clock.used
    burn(0.1)  # the other thread has ended
    time.sleep(2 * ProcessorWatch.SCAN)
    assert clock.used - before >= 0.09


CHILD = "import sys, time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"


def test_processes_are_charged_while_they_live_and_once():
    clock = DeviceClock(1e9)
    clock.switch("method")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", CHILD], **pipes) as child:
        child.stdout.readline()
        time.sleep(2 * ProcessorWatch.SCAN)
        alive = clock.used
        assert alive >= 0.45
        child.communicate(b"\n")
    assert clock.used - alive < 0.4  # what it cost is not charged again when it has ended


def test_processes_of_others_are_not_charged():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", CHILD], **pipes) as child:
        clock = DeviceClock(1e9)
        clock.switch("method")
        child.stdout.readline()
        time.sleep(2 * ProcessorWatch.SCAN)
        assert clock.used < 0.3
        child.communicate(b"\n")


def test_exhausted_budget_is_not_swallowed_by_except_exception():
    clock = PricedClock(0.1, {"step": 0.2})
    clock.switch("method")
    with clock.charge("step"):
        pass

    def fragile():
        with contextlib.suppress(Exception), clock.charge("step"):
            pass

    with pytest.raises(BudgetExhausted):
        fragile()


def test_evaluation_goes_on_after_the_budget_is_spent():
    clock = PricedClock(0.1, {"step": 0.2})
    clock.switch("method")
    with clock.charge("step"):
        pass
    with clock.enter("evaluation"), clock.charge("step", nfe=5):
        pass
    assert clock.ledgers["evaluation"] == pytest.approx(0.2)
    assert clock.work["nfe"] == 0
    assert clock.ledger == "method"


def test_rewind_restores_what_is_charged_and_keeps_the_sum():
    clock = PricedClock(10, {"step": 1.0})
    clock.switch("method")
    with clock.charge("step", nfe=3):
        pass
    saved = clock.snapshot()
    with clock.charge("step", nfe=3):
        pass
    clock.switch("setup")
    with clock.charge("step"):
        pass
    clock.rewind(saved)
    assert clock.used == 1.0
    assert clock.work["nfe"] == 3
    assert clock.ledgers["setup"] == 2.0


def test_unpriced_operation_is_named():
    clock = PricedClock(1, {"step": 1.0})
    with pytest.raises(KeyError, match="'leap'"), clock.charge("leap"):
        pass


def test_calibration_prices_a_unit_of_count():
    meter = PriceMeter()
    for _ in range(3):
        with meter.charge("nap", count=4):
            burn(0.02)
    assert meter.prices()["nap"] == pytest.approx(0.005, rel=0.5)


def test_the_meter_of_a_task_can_only_charge():
    clock = PricedClock(1, {"step": 0.25})
    clock.switch("method")
    meter = NarrowMeter(clock)
    with meter.charge("step"):
        pass
    assert clock.used == 0.25
    assert [name for name in dir(meter) if not name.startswith("_")] == ["charge"]
    assert not hasattr(meter.charge, "__self__")
