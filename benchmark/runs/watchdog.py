"""Ends the process of a run that does not end by itself.

A method may wait for ever, loop without calling its problem, or catch the exception that would stop
it, so nothing inside its thread can be relied on. A second thread counts the seconds, writes the
reason and all stack traces to `hang.txt` and ends the process. The next session that opens the run
records a failure in its log (`RunFolder.mend`).
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from benchmark.files import storing
from benchmark.runs.clock import Clock
from benchmark.runs.folder import RunFolder
from benchmark.runs.provenance import is_command

TICK = 1.0
"""Seconds between two looks, or a tenth of the limit if that is less."""
DEFIANCE = 100
"""Refused charges after which a method that still runs is taken to ignore the end of its budget."""
DEAD = 60.0
"""Seconds beyond the limit after which a watchdog that got no turn (compiled code holds the
interpreter) is taken over by one that needs none."""
EXIT_CODE = 70
STARTED_IN = os.getcwd()
ENDED_A_RUN = "DIFFUSION_TUNING_BENCHMARK_ENDED_A_RUN"
"""Environment variable by which a command knows that it goes on after one that ended a run."""


@contextmanager
def watched(folder: RunFolder, limit: float, clock: Clock) -> Iterator[None]:
    """End this process if what happens inside takes more than `limit` seconds.

    Evaluations, which the harness calls and the budget does not pay for, are not counted; but no
    single one may take longer than that either. Seconds are counted in ticks, so that neither a
    clock that is set nor a suspended process counts.
    """

    def put_off() -> None:
        """Push back the end that comes when this watchdog gets no turn."""
        faulthandler.dump_traceback_later(limit + DEAD, exit=True, file=last_word)

    def watch() -> None:
        counted = evaluating = 0.0
        while not over.wait(tick):
            put_off()
            if clock.ledger == "evaluation":
                evaluating += tick
            else:
                evaluating = 0.0
                counted += tick
            if clock.refusals > DEFIANCE:
                end_process(folder, "the method goes on after its budget has ended")
            if max(counted, evaluating) > limit:
                end_process(folder, f"did not end within its hard limit of {limit:g} s")

    tick = min(TICK, limit / 10)
    over = threading.Event()
    watcher = threading.Thread(target=watch, name="watchdog", daemon=True)
    with storing():
        last_word = open(folder.hang, "w")  # noqa: SIM115 - open while the watch lasts
    with last_word:
        put_off()
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            faulthandler.cancel_dump_traceback_later()
    with storing():
        folder.hang.unlink()


def end_process(folder: RunFolder, reason: str) -> NoReturn:
    """Write the reason and all stack traces to `hang.txt`, then exit. A worker's session tells the
    user and goes on with the other runs; a process without a parent does both itself."""
    try:
        with open(folder.hang, "w") as file:
            file.write(f"{reason}\n\n")
            file.flush()
            faulthandler.dump_traceback(file)
            os.fsync(file.fileno())
        if multiprocessing.parent_process() is None:
            stderr = sys.__stderr__.fileno() if sys.__stderr__ else 2
            command = _same_command()
            advice = "going on" if command else "start the command again to go on"
            said = f"error: {folder.path}: {reason}; recorded as failed; {advice} with the others\n"
            os.write(stderr, said.encode(errors="replace"))
            if command:
                os.environ[ENDED_A_RUN] = "yes"
                # A shell changes the folder: a method that goes on could leave it once more.
                enter = f'cd "$0" && exec "$@"; exit {EXIT_CODE}'
                os.execv("/bin/sh", ["sh", "-c", enter, STARTED_IN, *command])
    finally:
        os._exit(EXIT_CODE)


def _same_command() -> list[str] | None:
    """The command `run` that this process executes, if it is one: without the options by which it
    would try the run again that is being ended."""
    name = next((word for word in sys.argv[1:] if word != "--debug"), "")
    as_started = sys.orig_argv[-len(sys.argv[1:]) :] == sys.argv[1:]  # no program has changed it
    if not is_command() or name != "run" or not as_started:
        return None
    again = [word for word in sys.orig_argv[1:] if word not in ("--fresh", "--retry-failed")]
    return [sys.executable, *again]
