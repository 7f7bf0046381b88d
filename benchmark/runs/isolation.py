"""Isolates runs of one process from each other: global settings, and printed output."""

from __future__ import annotations

import inspect
import io
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmark.runs.spec import RunEnded
from tasks.base import Task

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that libraries read when they are loaded."""
RANDOM = "random's seed"
OUTPUT_LIMIT = 2**20
"""Characters of a session's output that are kept."""


class Setting(NamedTuple):
    """One global setting of a process: how to read it, as a comparable value, and to set it."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]


def settings() -> dict[str, Setting]:
    """The settings that a method or task might change for all that runs after it."""
    import torch

    return {
        RANDOM: Setting(random.getstate, random.setstate),
        "numpy's global seed": Setting(_numpy_state, np.random.set_state),
        "torch's global seed": Setting(
            lambda: tuple(torch.get_rng_state().tolist()),
            lambda state: torch.set_rng_state(torch.tensor(state, dtype=torch.uint8)),
        ),
        "torch's default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
        "torch's default device": Setting(torch.get_default_device, torch.set_default_device),
        "torch's thread count": Setting(torch.get_num_threads, torch.set_num_threads),
        "torch's gradient mode": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
        "torch's deterministic mode": Setting(
            torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
        ),
        "numpy's error handling": Setting(np.geterr, lambda kinds: np.seterr(**kinds)),
        "the working directory": Setting(os.getcwd, os.chdir),
        "the thread count of libraries": Setting(_pools, _set_pools),
    }


def _numpy_state() -> tuple[Any, ...]:
    state: Any = np.random.get_state()  # noqa: NPY002 - the point
    name, keys, *rest = state
    return (name, tuple(keys.tolist()), *rest)


def _pools() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in POOLS}


def _set_pools(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@contextmanager
def isolated(changed: list[str]) -> Iterator[None]:
    """One thread in every library, and all settings put back at the end; `changed` then names those
    that what ran inside had changed.

    The sum of a matrix product depends on how many threads share it, so a run is the same in this
    process and in a worker only if BLAS and OpenMP have one each, also in libraries loaded later.

    The main thread of a worker is Dask's, which draws from `random` to estimate the size of
    messages: only what runs in the main thread itself is held to have changed that.
    """
    import torch

    known = settings()
    is_main = threading.current_thread() is threading.main_thread()
    outside = {name: setting.read() for name, setting in known.items()}
    with threadpool_limits(1):
        torch.set_num_threads(1)
        _set_pools(dict.fromkeys(POOLS, "1"))
        inside = {name: setting.read() for name, setting in known.items()}
        try:
            yield
        finally:
            for name, setting in known.items():
                found = setting.read()
                if found != inside[name] and (is_main or name != RANDOM):
                    changed.append(name)
                if found != outside[name]:  # setting one as it is may still slow torch down
                    setting.write(outside[name])


@contextmanager
def code_kept(task: Task) -> Iterator[None]:
    """Put back the functions of the task's classes if what runs inside replaces any, and end the
    run for it: other runs of the process and the evaluation rely on them."""
    before = _functions(task)
    try:
        yield
    finally:
        changed = before.items() - _functions(task).items()
        for (cls, name), member in changed:
            setattr(cls, name, member)
        if changed:
            names = ", ".join(sorted(f"{cls.__name__}.{name}" for (cls, name), _ in changed))
            raise RunEnded from ValueError(f"the method replaced {names}")


def _functions(task: Task) -> dict[tuple[type, str], Any]:
    return {
        (cls, name): member
        for cls in type(task).__mro__
        for name, member in vars(cls).items()
        if inspect.isroutine(member) and cls is not object
    }


@contextmanager
def output_to(file: Path) -> Iterator[None]:
    """Write what is printed inside to `file`, which stays away if that is nothing."""
    output = _Output(file)
    try:
        with redirect_stdout(output), redirect_stderr(output):
            yield
    finally:
        output.close()


class _Output(io.TextIOBase):
    """A file that begins with its first text, ends at `OUTPUT_LIMIT`, and never raises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = OUTPUT_LIMIT - self._written
        if text and room > 0:
            kept = (
                text if len(text) <= room else f"{text[:room]}\n[more was printed, and dropped]\n"
            )
            try:
                with open(self._path, "a" if self._written else "w", errors="replace") as file:
                    file.write(kept)
            except OSError:
                pass
            self._written += len(text)
        return len(text)
