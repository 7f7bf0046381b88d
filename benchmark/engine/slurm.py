"""Workers as Slurm jobs, replaced when lost; their connections are encrypted."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmark.engine.stopping import interrupts_ignored
from benchmark.errors import UserError
from benchmark.registry import UnknownName
from benchmark.runs.spec import RunSpec

SLURM = "slurm"
LOOPBACK = "127.0.0.1"
NO_PAGES = {"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"}
"""Options of a scheduler."""
NO_DASHBOARD = ("--no-dashboard", "--dashboard-address", f"{LOOPBACK}:0")
"""Without the second option a worker's health pages are open to all who reach the machine."""
NO_MEMORY_LIMIT = ("--memory-limit", "0")
"""Slurm limits the memory of jobs; Dask would pause a worker near its limit for good."""
RESUBMIT_SPACING = 30.0
"""Seconds after which a job that Slurm has refused is submitted again."""
TEXTS = ("interface", "queue", "account", "walltime", "memory", "local_directory", "log_directory",
         "python")  # fmt: skip
LISTS = ("job_extra_directives", "job_script_prologue", "worker_extra_args")
NUMBERS = ("workers", "job_cpu")
SETTINGS = (*TEXTS, *LISTS, *NUMBERS)
"""Keys of a suite's `[executor]` table: `workers` is the number of jobs, the others are
arguments of `dask_jobqueue.SLURMCluster`."""


class ClusterError(UserError):
    """A cluster that cannot be used, or is lost."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise UnknownName or ClusterError for an `[executor]` table that cannot be used."""
    for key, value in settings.items():
        if key in NUMBERS:
            right, fits = "a whole number from 1", type(value) is int and value > 0
        elif key in TEXTS:
            right, fits = "a text", isinstance(value, str) and value != ""
        elif key in LISTS:
            strings = isinstance(value, list) and all(isinstance(item, str) for item in value)
            right, fits = "a list of strings", strings
        else:
            raise UnknownName("key in [executor]:", key, SETTINGS)
        if not fits:
            raise ClusterError(f"[executor]: {key} must be {right}, got {value!r}")


@contextmanager
def extra(purpose: str) -> Iterator[None]:
    """A package of the extra `cluster` that is missing inside is a ClusterError."""
    try:
        yield
    except ImportError as error:
        raise ClusterError(
            f"{purpose}: {error}; install the extra `cluster`: docs/running.md"
        ) from None


def words(error: Exception) -> str:
    """The first line of an error of Dask, whose TimeoutError often has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def closing(part: Any) -> Iterator[Any]:
    """`part`, a client or a cluster, closed at the end. On a busy machine Dask may give up on that;
    what is left ends with this process, and an error that ended the session is the one to show."""
    try:
        yield part
    finally:
        with suppress(TimeoutError):
            part.close()


@contextmanager
def client_of(cluster: Any) -> Iterator[Any]:
    """A client of a `cluster` of this process, which is closed with it."""
    from dask.distributed import Client

    with closing(cluster):
        try:
            client = Client(cluster, set_as_default=False)
        except OSError as error:
            raise ClusterError(
                f"this command's own Dask scheduler does not answer ({words(error)}); "
                "the machine may be too busy: the same command goes on from here"
            ) from None
        with closing(client):
            yield client


@contextmanager
def jobs(
    count: int, settings: Mapping[str, Any], specs: list[RunSpec], refusals: list[str]
) -> Iterator[Any]:
    """A client of a scheduler in this process with `count` Slurm jobs of one worker each, by the
    suite's `settings`; what Slurm says when it refuses one is added to `refusals`."""
    from dask.distributed import Security

    settings = {key: value for key, value in settings.items() if key != "workers"}
    device, results = specs[0].device, Path(specs[0].results)
    if shutil.which("sbatch") is None:
        raise ClusterError("--executor slurm: there is no sbatch on this machine's PATH")
    if "interface" not in settings:
        raise ClusterError(
            "--executor slurm needs `interface` in the suite's [executor] table: the network "
            'interface of this machine that jobs reach, such as "eth0" or "ib0"; see: ip address'
        )
    with extra("--executor slurm"), interrupts_ignored():  # its import has Ctrl-C exit with 0
        from dask_jobqueue import SLURMCluster

        security = Security.temporary()
    over = threading.Event()
    directives = ["--no-requeue", *settings.pop("job_extra_directives", [])]
    arguments = [*settings.pop("worker_extra_args", []), *NO_DASHBOARD, *NO_MEMORY_LIMIT]
    if device == "cuda" and not any("gpu" in directive for directive in directives):
        directives.append("--gres=gpu:1")
    logs = results / specs[0].suite / "slurm"
    logs.mkdir(parents=True, exist_ok=True)
    try:
        cluster = SLURMCluster(
            **{"memory": "8GB", "walltime": "24:00:00", "log_directory": str(logs)} | settings,
            cores=1, processes=1, job_name=f"benchmark-{specs[0].suite}",
            job_extra_directives=directives, worker_extra_args=arguments,
            security=security, shared_temp_directory=str(logs),
            scheduler_options=NO_PAGES, silence_logs=logging.CRITICAL,
            job_cls=_job_class(refusals, over),
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"[executor]: {words(error)}") from None
    with client_of(cluster) as client:
        cluster.adapt(minimum_jobs=count, maximum_jobs=count)  # lost jobs are replaced
        try:
            yield client
        finally:
            over.set()


def _job_class(refusals: list[str], over: threading.Event) -> type:
    """Jobs that are submitted again after a refusal, until the session is `over`."""
    from dask_jobqueue.slurm import SLURMJob
    from distributed.core import Status

    class Job(SLURMJob):  # type: ignore[misc]
        async def _submit_job(self, script_filename: str) -> str:
            while True:
                try:
                    output: str = await super()._submit_job(script_filename)
                except RuntimeError as error:
                    refusals.append(_last_words(error))
                    if await asyncio.to_thread(over.wait, RESUBMIT_SPACING):
                        self.status = Status.failed  # else the cluster cannot be closed
                        raise
                else:
                    refusals.clear()
                    return output

    return Job


def _last_words(error: RuntimeError) -> str:
    """The last line of what `sbatch` said, out of an error of dask-jobqueue."""
    said = str(error).partition("stderr:")[2].strip().splitlines() or ["it does not say why"]
    return said[-1].removeprefix("sbatch: error: ")
