"""What a worker on a cluster must have in common with the command that hands out the runs.

Looked at before any run starts, and again by every process before its first run, because
workers may join later. A worker says what is wrong with it; nothing is repaired.
"""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.runs.provenance import VERSIONED

SHARED_VERSIONS = (*VERSIONED, "distributed", "dask", "cloudpickle", "msgpack")
LOOPBACK = "127.0.0.1"


class ClusterError(RuntimeError):
    """A cluster that cannot be used, or is lost; the message says what to do."""


@dataclass(frozen=True)
class Terms:
    """What every worker is held against."""

    python: str
    versions: tuple[tuple[str, str | None], ...]
    sources: str
    """Hash of the code of benchmark, methods and tasks."""
    files: tuple[tuple[str, str], ...]
    """Methods given as files, with the hashes of their contents."""
    probe: Path
    """A locked file in the results folder."""
    device: str


@contextmanager
def offer(results: Path, methods: Iterable[str], device: str) -> Iterator[Terms]:
    """The terms of this process; its probe lies in `results` while the context lasts."""
    results.mkdir(parents=True, exist_ok=True)
    probe = results / f".probe-{uuid.uuid4().hex}"
    files = sorted({name for name in methods if name.endswith(".py")})
    lock = FileLock(probe)
    try:
        with lock:
            yield Terms(
                platform.python_version(), tuple(_versions()), _sources(),
                tuple((name, _digest(Path(name))) for name in files), probe, device,
            )  # fmt: skip
    finally:
        probe.unlink(missing_ok=True)


@cache
def complaints(terms: Terms) -> tuple[str, ...]:
    """What keeps this process from taking part, in words that name the host; empty if nothing."""
    where = f"worker on {socket.gethostname()} (process {os.getpid()})"
    return tuple(f"{where}: {reason}" for reason in _reasons(terms))


def _reasons(terms: Terms) -> Iterator[str]:
    python = platform.python_version()
    if _minor(python) != _minor(terms.python):
        yield f"runs Python {python}, the command {terms.python}"
    for (name, here), (_, there) in zip(_versions(), terms.versions, strict=True):
        if here != there:
            yield f"has {name} {here or 'not installed'}, the command {there or 'not installed'}"
    if _sources() != terms.sources:
        yield f"has other code of this package, in {Path(__file__).parents[2]}"
    for path, digest in terms.files:
        if not Path(path).is_file():
            yield f"does not see the method file {path}"
        elif _digest(Path(path)) != digest:
            yield f"sees another content of the method file {path}"
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
    results = probe.parent
    if not probe.exists():
        yield f"does not see the results folder {results}: it must be on a path all machines share"
        return
    mine = results / f"{probe.name}-{socket.gethostname()}-{os.getpid()}"
    try:
        mine.touch()
        mine.unlink()
        with FileLock(probe).acquire(timeout=0):
            yield f"file locks in {results} do not reach across machines; NFS 4 has such locks"
    except Timeout:
        return
    except OSError as error:
        yield f"cannot write to the results folder {results}: {error.strerror}"


def device_here(device: str) -> tuple[str, str]:
    """This machine's name and the identity of the one GPU a worker would use."""
    import torch

    return socket.gethostname(), str(torch.cuda.get_device_properties(device).uuid)


def _versions() -> Iterator[tuple[str, str | None]]:
    """Versions without what follows `+`: builds for other devices compute the same methods."""
    for name in SHARED_VERSIONS:
        try:
            yield name, version(name).partition("+")[0]
        except PackageNotFoundError:
            yield name, None


def _minor(python: str) -> str:
    return python.rpartition(".")[0]


@cache
def _sources() -> str:
    import benchmark
    import methods
    import tasks

    digest = hashlib.sha256()
    for package in (benchmark, methods, tasks):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{path.relative_to(root)}".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
