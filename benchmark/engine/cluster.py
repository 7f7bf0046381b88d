"""Sources of workers: processes of this machine, a running Dask cluster, or Slurm jobs.

    local                     one process per device of this machine, on the loopback interface
    tcp://HOST:PORT, tls://   the workers of a scheduler that somebody started: docs/running.md
    slurm                     jobs of one worker each, replaced when lost; encrypted

A scheduler executes code for everyone who can reach it, so nothing listens beyond the loopback
interface unless an address or an interface says so.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.engine import admission, slurm
from benchmark.engine.admission import Terms
from benchmark.engine.devices import VISIBLE, default_workers, kind, pins
from benchmark.engine.slurm import LOOPBACK, NO_PAGES, SLURM, ClusterError
from benchmark.engine.stopping import interrupts_ignored
from benchmark.runs.spec import RunSpec

LOCAL = "local"
ADDRESSES = ("tcp://", "tls://")
PATIENCE = 30.0
"""Seconds to wait for a scheduler to answer, and for its first worker."""
TICK = 1.0
"""Seconds after which workers that have joined or left are noticed, if no run ends before."""
FIND = "getattr(__import__('importlib.util').util.find_spec('benchmark'), 'origin', 'no place')"
"""Evaluated on a worker that cannot load this package: where another one of its name is."""
LOST = "lost the connection to the Dask scheduler; the same command goes on from here"


@dataclass
class Cluster:
    """A connected Dask cluster, as the executor sees it."""

    client: Any
    """This session's own: its identity is in the key of everything that the session submits."""
    terms: Terms | None = None
    """Conditions that workers must meet; None for those that this process has started."""
    refusals: list[str] = field(default_factory=list)
    """Slurm's messages when it refused a job; emptied when it takes one."""

    def submit(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """A future of `function` on a worker."""
        key = f"{self.client.id}-{uuid.uuid4().hex}"
        return self.client.submit(function, *arguments, key=key, **options)

    def finished(self, futures: Sequence[Any]) -> set[Any]:
        """Those of `futures` that are done; waits a moment for the first. Raises ClusterError if
        there is nothing to wait for: the scheduler is gone, or no job runs and Slurm takes none."""
        from dask.distributed import CancelledError, wait

        if self.client.status != "running":
            raise ClusterError(LOST)
        if self.refusals and not self.slots():
            raise ClusterError(
                f"Slurm refuses the jobs of workers ({self.refusals[-1]}); see the suite's "
                "[executor] table: docs/running.md"
            )
        if not futures:
            time.sleep(TICK)
            return set()
        try:
            with self.client.as_current():
                done: set[Any] = wait(futures, timeout=TICK, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return set()
        except CancelledError:
            raise ClusterError(LOST) from None
        return done

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The value of `function` on a worker; waits until there is one."""
        future = self.submit(function, *arguments)
        while not self.finished([future]):
            continue
        return future.result()

    def slots(self) -> int:
        """How many runs the workers, of one thread each, can execute at once."""
        with suppress(OSError):  # the scheduler is gone: see `finished`
            return len(self.client.nthreads())
        return 0

    def stop(self) -> None:
        """Stop this session's runs that are still going on, by restarting their workers.

        A run occupies its worker's only thread until its budget is spent, and no message ends it.
        Workers say themselves what they execute: the scheduler forgets a run as soon as nobody
        waits for it, and hands one that is waited for to another worker when its own restarts.
        """
        from dask.distributed import Future

        client = self.client
        until = time.monotonic() + PATIENCE
        with suppress(Exception):  # the cluster may be gone: there is nothing to stop then
            client.cancel([Future(key, client) for key in list(client.futures)])
            while time.monotonic() < until:
                executing = client.run(_is_executing, client.id, on_error="ignore")
                busy = [worker for worker, is_busy in executing.items() if is_busy]
                if not busy:
                    return
                client.restart_workers(busy, timeout=PATIENCE, raise_for_error=False)


def unfit(reason: str) -> ClusterError:
    """The error of a worker that may not take part."""
    return ClusterError(
        f"{reason}; make all machines alike, or take this one off the cluster: docs/running.md"
    )


@dataclass(frozen=True)
class Executor:
    """Where a session's runs are executed."""

    kind: str = LOCAL
    """`local`, `slurm`, or the address of a scheduler."""
    workers: int = 1
    """Processes or jobs to start; 0 for this process. A running cluster has its own."""
    device: str = "cpu"
    """`cpu`, `cuda` or, of this machine's GPUs, `cuda:N`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The suite's `[executor]` table."""
    sharing: int = 1
    """Workers that use the same device."""

    @property
    def is_remote(self) -> bool:
        """Whether runs may be executed on other machines."""
        return self.kind != LOCAL

    def describe(self) -> str:
        if self.is_remote:
            return f"{self.workers} Slurm jobs" if self.kind == SLURM else f"workers of {self.kind}"
        shared = f", {self.sharing} to a device" if self.sharing > 1 else ""
        return f"{self.workers} workers{shared}" if self.workers else "this process"

    @contextmanager
    def connect(self, specs: list[RunSpec]) -> Iterator[Cluster]:
        """A cluster for these runs. Raises ClusterError where it cannot execute them."""
        import distributed  # noqa: F401 - sets the levels of its loggers when it is imported

        for name in ("distributed", "distributed.client"):  # the command says it in one line
            logging.getLogger(name).setLevel(logging.CRITICAL)
        workers = min(self.workers, len(specs))
        if not self.is_remote:
            with _local(workers, self.device, self.sharing) as client:
                yield Cluster(client)
            return
        refusals: list[str] = []
        if self.kind == SLURM:
            opened = slurm.jobs(workers, self.settings, specs, refusals)
        else:
            opened = _running(self.kind)
        names = [name for spec in specs for name in (spec.method, spec.task_file)]
        offered = admission.offer(Path(specs[0].results), names, self.device)
        with offered as terms, opened as client:
            cluster = Cluster(client, terms, refusals)
            client.forward_logging("benchmark", logging.WARNING)
            if self.kind != SLURM:  # jobs may wait in a queue; they are looked at as they come
                inspect(cluster, self.device, self.sharing)
            try:
                yield cluster
            finally:
                cluster.stop()


def make_executor(
    where: str, workers: int | None, settings: dict[str, Any], device: str, sharing: int = 1
) -> Executor:
    """Where runs are executed, `sharing` of them on a device, checked. Raises ClusterError."""
    if where == LOCAL:
        most = sharing * default_workers(device)
        if kind(device) == "cuda" and (workers or 0) > most:
            raise ClusterError(
                f"--workers: {workers} workers want more than the {most // sharing} GPUs here; at "
                f"most {most}, or let runs share them: runs_per_device in the suite"
            )
        return Executor(LOCAL, most if workers is None else workers, device, settings, sharing)
    if where == SLURM:
        slurm.check_settings(settings)
        jobs = workers or settings.get("workers")
        if sharing > 1:
            raise ClusterError(
                "runs_per_device: on Slurm ask for a part of a GPU instead: docs/running.md"
            )
        if not jobs:
            raise ClusterError(
                "--executor slurm: say how many jobs, by --workers or in the [executor] table"
            )
        return Executor(SLURM, jobs, device, settings)
    if not where.startswith(ADDRESSES):
        raise ClusterError(
            f"--executor must be local, slurm or an address like tcp://HOST:8786, got {where!r}"
        )
    if workers is not None:
        raise ClusterError(f"--workers: the cluster at {where} has its own; leave the option out")
    return Executor(where, 1, device, settings, sharing)


@contextmanager
def _local(workers: int, device: str, sharing: int) -> Iterator[Any]:
    """A client of worker processes of this machine, one thread each, `sharing` to a device."""
    from dask.distributed import Nanny, Scheduler, Security, SpecCluster

    security, protocol = Security(), "tcp://"
    if security.require_encryption:  # by the user's settings of Dask
        with slurm.extra("encryption"):
            security, protocol = Security.temporary(), "tls://"
    common = {"host": LOOPBACK, "security": security, "protocol": protocol}
    options = common | {"nthreads": 1, "memory_limit": None, "silence_logs": logging.CRITICAL}
    nannies = {
        number: {"cls": Nanny, "options": options | {"env": env}}
        for number, env in enumerate(pins(workers, device, sharing))
    }
    scheduler = {"cls": Scheduler, "options": common | NO_PAGES}
    with interrupts_ignored():
        cluster = SpecCluster(nannies, scheduler, security=security, silence_logs=logging.CRITICAL)
    with slurm.client_of(cluster) as client:
        yield client


@contextmanager
def _running(address: str) -> Iterator[Any]:
    """A client of the scheduler at `address`."""
    from dask.distributed import Client, Security

    if address.startswith("tls://") and not Security().get_connection_args("client")["ssl_context"]:
        raise ClusterError(
            f"{address} needs certificates: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
            "..._TLS__CLIENT__CERT and ..._TLS__CLIENT__KEY: docs/running.md"
        )
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({slurm.words(error)}); start one, with "
            "workers: docs/running.md"
        ) from None
    with slurm.closing(client):
        yield client


def inspect(cluster: Cluster, device: str, sharing: int) -> None:
    """Look at the workers that are there before any run starts. Raises ClusterError."""
    client = cluster.client
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        address = client.scheduler.address
        raise ClusterError(
            f"the scheduler at {address} has no workers; start some: docs/running.md"
        ) from None
    try:
        found = client.run(admission.complaints, cluster.terms)
    except Exception as error:  # whatever a worker without this package makes of the question
        found = set(client.run(eval, FIND, on_error="return").values())
        raise ClusterError(
            f"a worker cannot load this package ({error}); it finds `benchmark` in "
            f"{', '.join(map(str, found))}; install the same version on the scheduler and on every "
            "worker, and start workers in a folder of their own: docs/running.md"
        ) from None
    reasons = [reason for complaints in found.values() for reason in complaints]
    if reasons:
        raise unfit("; ".join(reasons))
    if device != "cpu":
        shared = Counter(client.run(admission.gpu_here, device).values())
        (host, gpu), count = shared.most_common(1)[0]
        if count > sharing:
            raise unfit(
                f"{count} workers on {host} use the same GPU {gpu}: give each its own by "
                f"{VISIBLE}, or let runs share it: runs_per_device in the suite"
            )


def _is_executing(name: str, dask_worker: Any) -> bool:
    """Whether a task whose key contains `name` occupies a thread of this worker."""
    return any(name in str(key) for key in dask_worker.active_threads.copy().values())
