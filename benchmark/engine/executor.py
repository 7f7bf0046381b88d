"""Hands runs out: to this process one after the other, or to the workers of a Dask cluster.

A worker is a process of its own with one thread and its own device, so a crash takes one run
with it and not the suite. Everything a run produces is in its folder; a worker sends back only
how the run ended. There is never more in flight than there are workers: a suite of ten
thousand runs is no larger to the scheduler than one of ten.
"""

from __future__ import annotations

import ctypes
import logging
import queue
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.engine.admission import Terms, complaints
from benchmark.runs.runner import Outcome, RunSpec, execute, in_one_line, record_loss

if TYPE_CHECKING:
    from benchmark.engine.cluster import Cluster

Job = Callable[[], Any]
FollowUp = Callable[[RunSpec], Job | None]
"""What to do after a run, if anything: run on a worker, ahead of the waiting runs."""
HandedOut = Callable[[RunSpec], None]
"""Is told of each run that goes out."""
TICK = 1.0
"""Seconds after which workers that have joined or left are noticed, if no run ends before."""
BUSY_SECONDS = 5.0
"""How long a worker waits for a run folder that another process owns."""
RETRIES = 1
"""Second chances of a run that raised outside the method's work. Runs whose worker died are
handed out again by the scheduler itself (`distributed.scheduler.allowed-failures`)."""
log = logging.getLogger(__name__)


def run_here(
    specs: Sequence[RunSpec], follow_up: FollowUp, handed_out: HandedOut
) -> Iterator[Outcome]:
    """Execute runs one after the other in this process, each with its follow-up."""
    for spec in specs:
        handed_out(spec)
        outcome = execute(spec)
        job = follow_up(spec)
        if job is not None:
            try:
                job()
            except Exception as error:
                _warn_of_drawing(error)
        yield outcome


def run_on(
    cluster: Cluster, specs: Sequence[RunSpec], follow_up: FollowUp, handed_out: HandedOut
) -> Iterator[Outcome]:
    """Execute runs on the workers of `cluster`, yielding outcomes as they come.

    Follow-ups run on workers too: there they do not compete with the runs whose device time is
    measured. A run whose folder another process owns is tried again until that one is done.
    Raises ClusterError when a worker is not fit to run, or the scheduler is lost.
    """
    waiting = deque(specs)
    flying: dict[Any, RunSpec | None] = {}  # None: a follow-up
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    reported: set[Path] = set()

    def fly(future: Any, spec: RunSpec | None) -> None:
        flying[future] = spec
        future.add_done_callback(done.put)

    while waiting or flying:
        for _ in range(min(cluster.slots() - len(flying), len(waiting))):
            next_spec = waiting.popleft()
            fly(cluster.submit(attempt, next_spec, cluster.terms, retries=RETRIES), next_spec)
            handed_out(next_spec)
        cluster.check()
        try:
            future = done.get(timeout=TICK)
        except queue.Empty:
            continue
        if future.status == "cancelled":
            cluster.raise_lost()
        spec = flying.pop(future)
        error = future.exception()
        if spec is None:
            if error is not None:
                _warn_of_drawing(error)
            continue
        outcome = _lost(spec, error) if error is not None else future.result()
        future.release()
        if outcome.status == "unfit":
            cluster.raise_unfit(outcome.reason)
        if outcome.status == "busy":
            if spec.folder.path not in reported:
                log.warning("%s is in use by another process: waiting for it", spec.folder.path)
                reported.add(spec.folder.path)
            waiting.append(spec)
            continue
        yield outcome
        job = follow_up(spec)
        if job is not None:
            fly(cluster.submit(job, priority=1), None)


def attempt(spec: RunSpec, terms: Terms | None = None) -> Outcome:
    """What a worker does with a run, in a process that may be new or have done others before.

    A run may be in another process's hands for a moment only: a worker that was lost may still
    have gone on.
    """
    if terms is not None and (reasons := complaints(terms)):
        return Outcome(spec, "unfit", "; ".join(reasons))
    _keep_freed_memory()
    until = time.monotonic() + BUSY_SECONDS
    while (outcome := execute(spec)).status == "busy" and time.monotonic() < until:
        time.sleep(0.2)
    return outcome


def _warn_of_drawing(error: BaseException) -> None:
    log.warning("interim figures failed: %r", error)


def _lost(spec: RunSpec, error: BaseException) -> Outcome:
    """A run whose workers died, one after the other, or whose folder could not be written."""
    from dask.distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return record_loss(spec, "its worker process died, again and again (out of memory?)")
    return Outcome(spec, "interrupted", in_one_line(error))


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""From `malloc.h`."""


def _keep_freed_memory() -> None:
    """Keep freed tensors' memory in this process (glibc).

    Dask has its workers hand every freed block back to the system, and the page faults of the
    next tensor cost several times the arithmetic.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(M_TRIM_THRESHOLD, 256 * 2**20)
            library.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
