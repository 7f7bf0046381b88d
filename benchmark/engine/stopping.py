"""Stops a command cleanly on Ctrl-C, on SIGTERM (a batch system, `kill`) and on SIGHUP (a
terminal that closes), all in the same way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """A request to stop, by the signal called `number`."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.exit_code = 128 + number
        """The exit code by which a shell tells that this signal ended a process."""


def stop_signals() -> AbstractContextManager[None]:
    """Raise Stopped where one of the signals arrives, unless it is ignored (as by `nohup`)."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return _handled((n for n in numbers if signal.getsignal(n) != signal.SIG_IGN), _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def interrupts_ignored() -> AbstractContextManager[None]:
    """Ignore Ctrl-C inside, also where what runs inside sets a handler of its own.

    Processes that are started inside ignore it for good: a terminal sends it to every process of
    a job, but stopping the workers is for the command to do.
    """
    return _handled((signal.SIGINT,), signal.SIG_IGN)


@contextmanager
def _handled(numbers: Iterable[int], handler: Any) -> Iterator[None]:
    """Let `handler` handle signals; only the main thread can, others are left as they are."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {}
    try:
        for number in numbers if is_main else ():
            before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
