"""Admission of workers: each must match the command that hands out the runs.

Workers are compared with the command before any run starts, and again by every process before its
first run, because workers may join later. A worker names each difference; nothing is repaired.
"""

from __future__ import annotations

import os
import platform
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark import registry
from benchmark.runs.provenance import VERSIONED, code, digest, installed

SHARED_VERSIONS = (*VERSIONED, "distributed", "dask", "cloudpickle", "msgpack")
Fingerprint = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Terms:
    """The conditions that every worker must meet."""

    fingerprint: Fingerprint
    """Versions and hashes of code, by name."""
    files: tuple[str, ...]
    """Methods and tasks given as files."""
    probe: Path
    """A locked file in the results folder."""
    device: str


@contextmanager
def offer(results: Path, names: Iterable[str], device: str) -> Iterator[Terms]:
    """The terms of this process, for runs of the methods and tasks called `names`.

    Their probe lies in `results` as long as the context lasts.
    """
    results.mkdir(parents=True, exist_ok=True)
    probe = results / f".probe-{uuid.uuid4().hex}"
    files = tuple(sorted({str(file) for name in names if (file := registry.file_of(name))}))
    try:
        with FileLock(probe):
            yield Terms(fingerprint(files), files, probe, device)
    finally:
        probe.unlink(missing_ok=True)


@cache
def complaints(terms: Terms) -> tuple[str, ...]:
    """One line, naming the host, for each thing that keeps this process from taking part."""
    where = f"worker on {socket.gethostname()} (process {os.getpid()})"
    return tuple(f"{where}: {reason}" for reason in _reasons(terms))


def _reasons(terms: Terms) -> Iterator[str]:
    here = dict(fingerprint(terms.files))
    for name, there in terms.fingerprint:
        if here[name] != there:
            found = f", from {Path(__file__).parents[2]}" if name == CODE else ""
            yield f"has {name}: {here[name]}{found}; the command: {there}"
    with suppress(ValueError):  # not on a worker
        from distributed import get_worker

        if (threads := get_worker().state.nthreads) != 1:
            yield f"has {threads} threads: start it with --nthreads 1, one process per device"
    yield from _folder(terms.probe)
    if terms.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            yield "has no usable CUDA device"


def _folder(probe: Path) -> Iterator[str]:
    """Whether the results folder is here the same, writable, and locked across machines."""
    if not probe.exists():
        yield (
            f"does not see the results folder {probe.parent}: it must be on a path all machines "
            "share"
        )
        return
    try:
        with FileLock(probe).acquire(timeout=0):
            yield f"file locks in {probe.parent} do not reach across machines; NFS 4 has such locks"
    except Timeout:
        return
    except OSError as error:
        yield f"cannot write to the results folder {probe.parent}: {error.strerror}"


def gpu_here(device: str) -> tuple[str, str]:
    """This machine's name and the identity of the GPU that `device` is in this process."""
    import torch

    return socket.gethostname(), str(torch.cuda.get_device_properties(device).uuid)


CODE = "code of this package"


def fingerprint(files: Iterable[str]) -> Fingerprint:
    """Versions and hashes, by name, of what a run is computed with.

    Patch levels of Python and builds of a version for another device compute the same methods.
    """
    found = {"Python": platform.python_version().rpartition(".")[0]}
    for name in SHARED_VERSIONS:
        found[name] = (installed(name) or "not installed").partition("+")[0]
    found[CODE] = code("benchmark", "methods", "tasks")
    for path in map(Path, files):
        found[f"file {path}"] = digest(path.read_bytes()) if path.is_file() else "not there"
    return tuple(found.items())
