"""Watches for device time: wall time, time of a GPU, or processor time.

Each watch counts from lap to lap, so that laps add up to the whole time.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

THREAD_CPU_CLOCK = 6
"""Lowest bits of a Linux clock that counts one thread's processor time; its id is in the others."""


def device_watch(device: str) -> DeviceWatch | ProcessorWatch:
    """The watch that a budget on `device` is measured by."""
    return DeviceWatch(device) if device.startswith("cuda") else ProcessorWatch()


class Stopwatch:
    """Wall time, by the performance counter.

    Clocks are set, and leap when a machine wakes up. Where the counter and the time of day
    disagree by more than `LEAP`, one of them leapt, and the lap is the shorter that is possible.
    """

    LEAP = 1.0

    def __init__(self) -> None:
        self._counter, self._time = time.perf_counter(), time.time()

    def lap(self) -> float:
        counter, clock_time = time.perf_counter(), time.time()
        elapsed = self._elapsed(counter, clock_time)
        self._counter, self._time = counter, clock_time
        return elapsed

    def _elapsed(self, counter: float, clock_time: float) -> float:
        counted, passed = counter - self._counter, clock_time - self._time
        if abs(counted - passed) <= self.LEAP and counted >= 0:
            return counted
        return min((seconds for seconds in (counted, passed) if seconds >= 0), default=0.0)


class DeviceWatch(Stopwatch):
    """Wall time up to where the GPU has done all that it was given: synchronised at each lap."""

    INTERVAL = 0.02
    """Seconds between two glances, by which a run may overstep its budget: a synchronisation per
    primitive would stall the device."""

    def __init__(self, device: str) -> None:
        import torch

        self._synchronize: Callable[[], None] = partial(torch.cuda.synchronize, device)
        self._synchronize()
        super().__init__()

    def lap(self) -> float:
        self._synchronize()
        return super().lap()

    def glance(self) -> float:
        running = self._elapsed(time.perf_counter(), time.time())
        return self.lap() if running >= self.INTERVAL else 0.0


class ProcessorWatch:
    """User and system time of what this thread does, in all threads and processes that it starts.

    Counted is the whole process, less the Python threads that were there before the watch: those
    of a worker take a few per cent of a core all the time, whatever work is done. Counted too are
    child processes that have ended and, on Linux, children and their descendants that are still
    alive. Processes that were there before, and any that cut themselves off from their parent, are
    not. Threads and living children are looked at every `SCAN` seconds.
    """

    SCAN = 0.05

    def __init__(self) -> None:
        self._strangers = set(_descendants(os.getpid()))
        self._others = dict.fromkeys(_other_threads(), 0.0)
        self._apart = self._looked_at()
        self._ended = _ended_children()
        self._own = time.process_time() + self._ended
        self._due = self._owed = 0.0

    def lap(self) -> float:
        now, ended = time.perf_counter(), _ended_children()
        own, apart = time.process_time() + ended, self._apart
        due = not 0 < self._due - now <= self.SCAN  # also when the clock was set
        if due or ended != self._ended:
            self._ended, apart = ended, self._looked_at()
            self._due = now + self.SCAN
        seconds = own - self._own + apart - self._apart + self._owed
        self._own, self._apart = own, apart
        self._owed = max(min(seconds, 0.0), -self.SCAN)
        return max(seconds, 0.0)

    glance = lap

    def _looked_at(self) -> float:
        """Seconds of living children, less those of the other threads."""
        for clock in self._others:
            with suppress(OSError):  # it has ended: what it has used stays
                self._others[clock] = time.clock_gettime(clock)
        living = 0.0
        if _has_children():
            pids = set(_descendants(os.getpid())) - self._strangers
            living = sum(map(_seconds, pids))
        return living - sum(self._others.values())


def _other_threads() -> Iterator[int]:
    """Clocks of the Python threads of this process but the present one, where they have any."""
    if sys.platform == "linux":
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.native_id is not None:
                yield ~thread.native_id << 3 | THREAD_CPU_CLOCK


def _ended_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descendants(pid: int) -> Iterator[int]:
    """Living children of a process and theirs; none where there is no `/proc`."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:  # the thread has ended
            continue
        for child in map(int, found):
            yield child
            yield from _descendants(child)


def _seconds(pid: int) -> float:
    """Processor time of a process and of the children that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
