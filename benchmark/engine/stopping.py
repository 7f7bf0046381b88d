"""Stops a command cleanly on Ctrl-C, on SIGTERM (a batch system, `kill`) and on SIGHUP (a
terminal that closes), all in the same way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A request to stop, by the signal called `number`."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.exit_code = 128 + number
        """What a shell expects of a process that ended by this signal."""


@contextmanager
def stop_signals() -> Iterator[None]:
    """Raise Stopped where one of the signals arrives, unless it is ignored (as by `nohup`)."""
    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # there is no SIGHUP on Windows
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)
