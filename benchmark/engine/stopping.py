"""Stops a command cleanly on Ctrl-C, on SIGTERM (a batch system, `kill`) and on SIGHUP (a
terminal that closes), all in the same way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """A request to stop, by the signal called `number`."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.exit_code = 128 + number
        """The exit code by which a shell tells that this signal ended a process."""


@contextmanager
def stop_signals() -> Iterator[None]:
    """Raise Stopped where one of the signals arrives, unless it is ignored (as by `nohup`)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP") if _is_main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, _stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C inside, also where what runs inside sets a handler of its own.

    Processes that are started inside ignore it for good: a terminal sends it to every process of
    a job, but stopping the workers is for the command to do.
    """
    if not _is_main_thread():  # signals are the main thread's
        yield
        return
    before: Any = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
