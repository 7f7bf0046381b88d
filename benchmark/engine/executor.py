"""Executes runs: in this process one after the other, or on the workers of a Dask cluster.

A worker is a process of its own with one thread and its own device, so a crash takes one run
with it and not the suite. Everything a run produces is in its folder; a worker sends back only
how the run ended. There is never more in flight than there are workers: a suite of ten
thousand runs is no larger to the scheduler than one of ten.
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.engine.admission import Terms, complaints
from benchmark.engine.cluster import Cluster, Executor, unfit
from benchmark.engine.devices import gpus
from benchmark.runs import calibration
from benchmark.runs.runner import execute, record_loss
from benchmark.runs.spec import Outcome, RunSpec, in_one_line

HandedOut = Callable[[RunSpec], None]
"""Is told of each run that goes out."""
BUSY_SECONDS = 1.0
"""How long a worker waits after it has found a run folder that another process owns."""
RETRIES = 1
"""Second chances of a run that raised outside the method's work. Runs whose worker died are
handed out again by the scheduler itself (`distributed.scheduler.allowed-failures`)."""
log = logging.getLogger(__name__)


def run_all(
    where: Executor, specs: list[RunSpec], handed_out: HandedOut
) -> Generator[Outcome, None, None]:
    """Execute runs, yielding outcomes as they come. Raises ClusterError and StorageError.

    Prices of the priced clock are measured where the runs will be executed.
    """
    if where.is_remote or where.workers:
        with where.connect(specs) as cluster:
            yield from run_on(cluster, with_prices(specs, cluster.call), handed_out)
        return
    if where.device.startswith("cuda"):
        import torch

        torch.cuda.set_device(gpus(where.device)[0])
    for spec in with_prices(specs, lambda function, *arguments: function(*arguments)):
        handed_out(spec)
        yield execute(spec)


def with_prices(specs: Sequence[RunSpec], call: Callable[..., Any]) -> list[RunSpec]:
    """Fill in the prices that the priced clock needs: those of earlier runs of the suite in the
    same results, or by `call`, one calibration per task."""
    priced = {spec.task: spec for spec in specs if spec.clock == "priced"}
    known = {
        task: calibration.stored(spec)
        or call(calibration.prices, spec.task_file or task, spec.device, spec.precision)
        for task, spec in priced.items()
    }
    return [replace(spec, prices=known.get(spec.task)) for spec in specs]


def run_on(cluster: Cluster, specs: Sequence[RunSpec], handed_out: HandedOut) -> Iterator[Outcome]:
    """Execute runs on the workers of `cluster`, yielding outcomes as they come.

    A run whose folder another process owns is tried again until that one is done. Raises
    ClusterError when a worker is not fit to run, or the scheduler is lost.
    """
    waiting = deque(specs)
    flying: dict[Any, RunSpec] = {}
    reported: set[Path] = set()
    while waiting or flying:
        for _ in range(min(cluster.slots() - len(flying), len(waiting))):
            spec = waiting.popleft()
            flying[cluster.submit(attempt, spec, cluster.terms, retries=RETRIES)] = spec
            handed_out(spec)
        for future in cluster.finished(list(flying)):
            spec = flying.pop(future)
            outcome = _outcome(spec, future)
            if outcome.status == "unfit":
                raise unfit(outcome.reason)
            if outcome.status != "busy":
                yield outcome
                continue
            if spec.folder.path not in reported:
                log.warning("%s is in use by another process: waiting for it", spec.folder.path)
                reported.add(spec.folder.path)
            waiting.append(spec)


def attempt(spec: RunSpec, terms: Terms | None = None) -> Outcome:
    """Execute one run on a worker, in a process that may be new or have executed others before."""
    if terms is not None and (reasons := complaints(terms)):
        return Outcome(spec, "unfit", "; ".join(reasons))
    _keep_freed_memory()
    outcome = execute(spec)
    if outcome.status == "busy":
        time.sleep(BUSY_SECONDS)
    return outcome


def _outcome(spec: RunSpec, future: Any) -> Outcome:
    """How a run ended, also one whose workers died, one after the other, or whose folder could not
    be written."""
    from dask.distributed import KilledWorker

    error = future.exception()
    if error is None:
        outcome: Outcome = future.result()
        return outcome
    if isinstance(error, KilledWorker):
        return record_loss(spec, "its worker process died, again and again (out of memory?)")
    return Outcome(spec, "interrupted", in_one_line(error))


def _keep_freed_memory() -> None:
    """Keep freed tensors' memory in this process (glibc).

    Dask has its workers hand every freed block back to the system, and the page faults of the
    next tensor cost several times the arithmetic.
    """
    with suppress(OSError, AttributeError):  # another system, another C library
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(-1, 256 * 2**20)  # M_TRIM_THRESHOLD of malloc.h
        library.mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD
