"""Where workers come from: processes of this machine, a running Dask cluster, or Slurm jobs.

    local                     one process per device of this machine, on the loopback interface
    tcp://HOST:PORT, tls://   the workers of a scheduler that somebody started: docs/cluster.md
    slurm                     jobs of one worker each, in number kept up; encrypted

A scheduler runs code for whoever reaches it, so nothing listens beyond the loopback interface
unless an address or an interface says so.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from benchmark.engine import admission, slurm
from benchmark.engine.admission import LOOPBACK, ClusterError, Terms
from benchmark.runs.runner import RunSpec

LOCAL = "local"
SLURM = "slurm"
ADDRESSES = ("tcp://", "tls://")
PATIENCE = 30.0
"""Seconds to wait for a scheduler to answer, and for its first worker."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
COUNT_SPACING = 0.5
"""Seconds between two counts of the workers."""


@dataclass
class Cluster:
    """A connected Dask cluster, as the executor sees it."""

    client: Any
    terms: Terms | None = None
    """What workers are held against; None for those that this process has started."""
    resources: dict[str, float] = field(default_factory=dict)
    """What a run takes of a worker's announced resources."""
    refusals: list[str] = field(default_factory=list)
    """What Slurm said when it refused a job; emptied when it takes one."""
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _slots: int = 0
    _counted: float = -1e9

    def submit(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """A future; its key is this session's own, also where sessions share a scheduler."""
        key = (f"run-{self._token}", next(self._numbers))
        taken = self.resources if self.resources else None
        return self.client.submit(function, *arguments, key=key, resources=taken, **options)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` returns on a worker, however long it takes until there is one."""
        future = self.submit(function, *arguments)
        while not future.done():
            self.check()
            time.sleep(0.1)
        if future.cancelled():
            self.raise_lost()
        return future.result()

    def slots(self) -> int:
        """How many runs the workers can execute at once."""
        if time.monotonic() > self._counted + COUNT_SPACING:
            self._slots = len(self.workers())
            self._counted = time.monotonic()
        return self._slots

    def workers(self) -> list[str]:
        """Addresses of the workers that offer what a run takes."""
        try:
            known = self.client.scheduler_info()["workers"]
        except OSError:
            self.raise_lost()
        return [
            address
            for address, worker in known.items()
            if worker["status"] == "running"
            and all(worker["resources"].get(key, 0) >= n for key, n in self.resources.items())
        ]

    def check(self) -> None:
        """Raise ClusterError if there is nothing to wait for: the scheduler is gone, or no job
        runs and Slurm takes none."""
        if self.client.status != "running":
            self.raise_lost()
        if self.refusals and not self.slots():
            raise ClusterError(
                f"Slurm refuses the jobs of workers ({self.refusals[-1]}); see the suite's "
                "[executor] table: docs/cluster.md"
            )

    def stop(self) -> None:
        """Stop this session's runs that are still going on, by restarting their workers.

        A run occupies its worker's only thread until its budget is spent, and no message ends it.
        Workers say themselves what they execute: the scheduler forgets a run as soon as nobody
        waits for it, and hands one that is waited for to another worker when its own restarts.
        """
        from dask.distributed import Future

        client, mine = self.client, f"run-{self._token}"
        until = time.monotonic() + PATIENCE
        with suppress(Exception):  # the cluster may be gone: there is nothing to stop then
            client.cancel([Future(key, client) for key in list(client.futures) if mine in str(key)])
            while time.monotonic() < until:
                executing = client.run(_is_executing, mine, on_error="ignore")
                busy = [worker for worker, is_busy in executing.items() if is_busy]
                if not busy:
                    return
                client.restart_workers(busy, timeout=PATIENCE, raise_for_error=False)

    def raise_lost(self) -> NoReturn:
        raise ClusterError(
            "lost the connection to the Dask scheduler; nothing is lost: the same command goes on "
            "from here"
        )

    def raise_unfit(self, reason: str) -> NoReturn:
        raise ClusterError(
            f"{reason}; make all machines alike, or take this one off the cluster: docs/cluster.md"
        )


@dataclass(frozen=True)
class Executor:
    """Where a session's runs go."""

    kind: str = LOCAL
    """`local`, `slurm`, or the address of a scheduler."""
    workers: int = 1
    """Processes or jobs to start; 0 for this process. A running cluster has its own."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The suite's `[executor]` table."""
    sharing: int = 1
    """Workers that use the same device."""

    @property
    def is_remote(self) -> bool:
        """Whether runs may be executed on other machines."""
        return self.kind != LOCAL

    def describe(self) -> str:
        if self.kind == LOCAL:
            shared = f", {self.sharing} to a device" if self.sharing > 1 else ""
            return f"{self.workers} workers{shared}" if self.workers else "this process"
        return f"{self.workers} Slurm jobs" if self.kind == SLURM else f"the workers of {self.kind}"

    @contextmanager
    def connect(self, specs: list[RunSpec]) -> Iterator[Cluster]:
        """A cluster for these runs. Raises ClusterError where it cannot execute them."""
        _silence_dask()
        device = specs[0].device
        if self.kind == LOCAL:
            with _local(min(self.workers, len(specs)), device, self.sharing) as cluster:
                yield cluster
            return
        methods = [spec.method for spec in specs]
        refusals: list[str] = []
        jobs = min(self.workers, len(specs))
        opened = (
            slurm.jobs(jobs, self.settings, specs, refusals)
            if self.kind == SLURM
            else _running(self.kind)
        )
        with admission.offer(Path(specs[0].results), methods, device) as terms, opened as client:
            cluster = Cluster(client, terms, _gpu(device), refusals)
            client.forward_logging("benchmark", logging.WARNING)
            if self.kind != SLURM:  # jobs may wait in a queue; they are looked at as they come
                _inspect(cluster, device, self.sharing)
            try:
                yield cluster
            finally:
                cluster.stop()


def _silence_dask() -> None:
    """What it says of a cluster that is lost, the command says in a line of its own."""
    import distributed  # noqa: F401 - sets its levels when it is imported

    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _gpu(device: str) -> dict[str, float]:
    """One GPU per run, where runs need one."""
    return {"GPU": 1} if device.startswith("cuda") else {}


@contextmanager
def _local(workers: int, device: str, sharing: int = 1) -> Iterator[Cluster]:
    """Worker processes of this machine, one thread each and `sharing` of them to a device."""
    from dask.distributed import Client, Nanny, Scheduler, SpecCluster

    quiet = {"silence_logs": logging.CRITICAL, "host": LOOPBACK}
    nannies = {
        index: {
            "cls": Nanny,
            "options": quiet
            | {
                "nthreads": 1,
                "memory_limit": None,
                "resources": _gpu(device),
                "env": _visible_device(index, device, -(-workers // sharing)),
            },
        }
        for index in range(workers)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": LOOPBACK, "dashboard": False, "dashboard_address": f"{LOOPBACK}:0"},
    }
    with _interrupts_ignored():
        cluster = SpecCluster(nannies, scheduler, silence_logs=logging.CRITICAL)
    client = Client(cluster)
    try:
        yield Cluster(client, resources=_gpu(device))
    finally:
        for part in (client, cluster):
            with suppress(TimeoutError):  # on a busy machine; what is left ends with this process
                part.close()


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


def _visible_device(index: int, device: str, devices: int) -> dict[str, str]:
    """One GPU to each worker: of the first `devices` that this process sees, in turns."""
    if not device.startswith("cuda"):
        return {}
    named = [name for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    number = index % devices
    return {VISIBLE: named[number].strip() if named else str(number)}


@contextmanager
def _running(address: str) -> Iterator[Any]:
    """A client of the scheduler at `address`."""
    from dask.distributed import Client

    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({str(error).splitlines()[0]}); start one, "
            "with workers: docs/cluster.md"
        ) from None
    with client:
        yield client


def _inspect(cluster: Cluster, device: str, sharing: int) -> None:
    """Look at the workers that are there before any run starts."""
    client = cluster.client
    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=PATIENCE)
    workers = cluster.workers()
    if not workers:
        announced = " that announce a GPU (--resources GPU=1)" if cluster.resources else ""
        raise ClusterError(
            f"the scheduler at {client.scheduler.address} has no workers{announced}; start some: "
            "docs/cluster.md"
        )
    try:
        found = client.run(admission.complaints, cluster.terms, workers=workers)
    except Exception as error:  # whatever a worker without this package makes of the question
        raise ClusterError(
            f"a worker cannot load this package ({type(error).__name__}: {error}); install the "
            "same version on the scheduler and on every worker: docs/cluster.md"
        ) from None
    reasons = [reason for complaints in found.values() for reason in complaints]
    if reasons:
        cluster.raise_unfit("; ".join(reasons))
    if device.startswith("cuda"):
        devices = client.run(admission.device_here, device, workers=workers)
        for (host, gpu), workers_on_it in _grouped(devices).items():
            if len(workers_on_it) > sharing:
                cluster.raise_unfit(
                    f"{len(workers_on_it)} workers on {host} use the same GPU {gpu}: give each its "
                    "own by CUDA_VISIBLE_DEVICES, or let runs share it: runs_per_device in the "
                    "suite"
                )


def _grouped(devices: dict[str, tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for worker, device in devices.items():
        groups.setdefault(tuple(device), []).append(worker)  # type: ignore[arg-type]
    return groups


def _is_executing(name: str, dask_worker: Any) -> bool:
    """Whether a task whose key contains `name` occupies a thread of this worker."""
    return any(name in str(key) for key in dask_worker.active_threads.copy().values())
