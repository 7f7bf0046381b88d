"""Where runs go: this process, or Dask workers, one process per device.

A worker is a process of its own with its own threads or its own GPU, so a crash takes one
run with it and not the suite. Everything a run produces is in its folder; a worker sends
back only how the run ended.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmark.runner import Outcome, RunSpec, execute, in_one_line, record_loss

Job = Callable[[], Any]


def run_here(
    specs: Sequence[RunSpec], follow_up: Callable[[RunSpec], Job | None]
) -> Iterator[Outcome]:
    """Execute runs one after the other in this process, each with its follow-up."""
    for spec in specs:
        outcome = execute(spec)
        job = follow_up(spec)
        if job is not None:
            try:
                job()
            except Exception as error:
                _warn_of_drawing(error)
        yield outcome


def run_on_workers(
    specs: Sequence[RunSpec], workers: int, follow_up: Callable[[RunSpec], Job | None]
) -> Iterator[Outcome]:
    """Execute runs on `workers` local processes, yielding outcomes as they come.

    `follow_up` may return a job to run on a worker after a run, ahead of the waiting runs:
    drawing on a worker does not compete with the runs whose device time is measured.
    """
    from dask.distributed import as_completed

    with _cluster(workers, specs[0].device) as client:
        futures = {
            # Alike keys make one group, which the scheduler hands out in order of priority.
            client.submit(execute, spec, key=f"run-{i}", priority=-i, retries=1): spec
            for i, spec in enumerate(specs)
        }
        jobs = set()
        stream = as_completed(futures)
        for future in stream:
            if future in jobs:
                jobs.discard(future)
                if (error := future.exception()) is not None:
                    _warn_of_drawing(error)
                continue
            spec = futures[future]
            error = future.exception()
            yield future.result() if error is None else _lost(spec, error)
            job = follow_up(spec)
            if job is not None:
                drawing = client.submit(job, priority=1, pure=False)
                jobs.add(drawing)
                stream.add(drawing)


def _warn_of_drawing(error: BaseException) -> None:
    logging.getLogger(__name__).warning("interim figures failed: %r", error)


def _lost(spec: RunSpec, error: BaseException) -> Outcome:
    """A run whose workers died, one after the other, or whose folder could not be written."""
    from dask.distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return record_loss(spec, "its worker process died, again and again (out of memory?)")
    return Outcome(spec, "interrupted", in_one_line(error))


WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": 1,
    "MKL_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
    # Dask's own default makes workers hand every freed tensor back to the system, and the page
    # faults of the next one cost several times the arithmetic.
    "MALLOC_TRIM_THRESHOLD_": 256 * 2**20,
    "MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
}
"""What worker processes start with: one thread each, and memory that stays theirs."""


@contextmanager
def _cluster(workers: int, device: str) -> Iterator[Any]:
    """A Dask cluster on the loopback interface with one single-threaded worker per device."""
    import dask
    from dask.distributed import Client, Nanny, Scheduler, SpecCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    dask.config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT})
    quiet = {"silence_logs": logging.CRITICAL, "host": "127.0.0.1"}
    nannies = {
        index: {
            "cls": Nanny,
            "options": quiet
            | {"nthreads": 1, "memory_limit": None, "env": _visible_device(index, device)},
        }
        for index in range(workers)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"},
    }
    with _interrupts_ignored():
        cluster = SpecCluster(nannies, scheduler, silence_logs=logging.CRITICAL)
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, and so do the processes started inside, for good.

    A terminal sends it to every process of the job, but stopping is for this one to do.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _visible_device(index: int, device: str) -> dict[str, str]:
    """One GPU to each worker."""
    return {"CUDA_VISIBLE_DEVICES": str(index)} if device.startswith("cuda") else {}
