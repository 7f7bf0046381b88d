"""Faults, each armed in a process that is about to run the command line."""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

import benchmark
import methods
import tasks
from benchmark.engine import executor
from benchmark.runs import folder as store
from benchmark.runs.spec import Outcome, RunSpec
from tasks.base import Task
from tests.conftest import ToyTask
from tests.faults.world import Descent

Action = Callable[[], None]
PLACES = {
    "harness": (str(Path(benchmark.__path__[0])),),
    "method": (str(Path(methods.__path__[0])), Descent.run.__code__.co_filename),
    "task": (str(Path(tasks.__path__[0])), ToyTask.iterate.__code__.co_filename),
}
"""Files whose lines are counted."""


class Injected(RuntimeError):
    """An error that nobody expected."""


class Tripwire:
    """Counts the lines executed in some place, and acts at one of them.

    With `label`, only those executed while the run of that method is under way.
    """

    def __init__(self, fired: Path, place: str, at: int, action: Action, label: str = "") -> None:
        self.fired, self.at, self.action = fired, at, action
        self.roots = PLACES[place]
        self.label = label
        self.active = not label
        self.seen = 0
        self.known: dict[str, bool] = {}

    def arm(self) -> None:
        if self.label:
            self._follow_runs()
        sys.settrace(self._enter)

    def _follow_runs(self) -> None:
        execute = executor.execute

        def followed(spec: RunSpec) -> Outcome:
            self.active = spec.label == self.label
            try:
                return execute(spec)
            finally:
                self.active = False

        executor.execute = followed

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        counted = self.known.get(name)
        if counted is None:
            counted = self.known[name] = name.startswith(self.roots)
        return self._line if counted else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and self.active:
            self.seen += 1
            if self.seen == self.at:
                self.fired.touch()
                self.action()
        return self._line


def send(number: int) -> Action:
    return lambda: os.kill(os.getpid(), number)


def throw(make: Callable[[], BaseException]) -> Action:
    def action() -> None:
        raise make()

    return action


ERRORS: dict[str, list[Action]] = {
    "exception": [
        throw(lambda: Injected("no heat")),
        throw(lambda: KeyError("no heat")),
        throw(lambda: OSError(errno.EIO, "no heat")),
        throw(lambda: RecursionError("no heat")),
        throw(lambda: SystemExit(3)),
        throw(lambda: Injected("of heat, no trace\n" * 100_000)),
    ],
    "out of memory": [
        lambda: np.empty(2**60, dtype=np.uint8).fill(0),
        lambda: torch.empty(2**60, dtype=torch.uint8).backward(),
        throw(MemoryError),
    ],
    "CUDA out of memory": [
        throw(lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
    ],
}


def break_evaluation(fired: Path, label: str, at: int, action: Action) -> None:
    """Act in the `at`-th evaluation of a run."""
    execute = executor.execute

    def followed(spec: RunSpec) -> Outcome:
        if spec.label != label:
            return execute(spec)
        cls = benchmark.registry.task(spec.task)
        original, calls = cls.evaluate, Counter[str]()

        def evaluate(self: Task, candidate: Any, seed: int) -> dict[str, float]:
            calls["evaluate"] += 1
            if calls["evaluate"] == at:
                fired.touch()
                action()
            return original(self, candidate, seed)

        cls.evaluate = evaluate  # type: ignore[method-assign]
        try:
            return execute(spec)
        finally:
            cls.evaluate = original  # type: ignore[method-assign]

    executor.execute = followed


def spoil_values(fired: Path, label: str, kind: str, value: float, share: float) -> None:
    """Make a share of all scores (or metrics) `value`, always those of the same parameters."""
    execute = executor.execute

    def spoilt(params: dict[str, float]) -> bool:
        chosen = random.Random(str(sorted(params.items()))).random() < share
        if chosen:
            fired.touch()
        return chosen

    def followed(spec: RunSpec) -> Outcome:
        cls = benchmark.registry.task(spec.task)
        score, evaluate = cls.score, cls.evaluate
        if spec.label != label:
            return execute(spec)
        if kind == "score":

            def spoilt_score(self: Task, candidate: Any, seed: int) -> float:
                found = score(self, candidate, seed)  # it is charged all the same
                return value if spoilt(candidate.params) else found

            cls.score = spoilt_score  # type: ignore[method-assign]
        else:
            cls.evaluate = lambda self, candidate, seed: (  # type: ignore[method-assign]
                dict.fromkeys(evaluate(self, candidate, seed), value)
                if spoilt(candidate.params)
                else evaluate(self, candidate, seed)
            )
        try:
            return execute(spec)
        finally:
            cls.score, cls.evaluate = score, evaluate  # type: ignore[method-assign]

    executor.execute = followed


class FailingDisk:
    """Fails the `at`-th operation that writes, and all after it unless it is a passing fault.

    A write that fails may leave a part of its bytes behind, as a full disk does.
    """

    def __init__(self, fired: Path, root: Path, at: int, lasting: bool, code: int) -> None:
        self.fired, self.root, self.at, self.lasting, self.code = (
            fired,
            str(root),
            at,
            lasting,
            code,
        )
        self.seen = 0

    def arm(self) -> None:
        fsync, replace, mkdir, opened = os.fsync, os.replace, Path.mkdir, open
        write_text = Path.write_text

        def failing_open(path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
            if set(mode) & set("wax+") and str(path).startswith(self.root):
                self.operate()
                return _FailingFile(opened(path, mode, *more, **options), self)
            return opened(path, mode, *more, **options)

        def failing(original: Callable[..., Any]) -> Callable[..., Any]:
            def operation(*arguments: Any, **options: Any) -> Any:
                self.operate()
                return original(*arguments, **options)

            return operation

        store.open = failing_open  # type: ignore[attr-defined]
        os.fsync, os.replace = failing(fsync), failing(replace)
        Path.mkdir = failing(mkdir)  # type: ignore[method-assign]
        Path.write_text = failing(write_text)  # type: ignore[method-assign]

    def operate(self) -> None:
        if self.fails():
            raise self.error()

    def fails(self) -> bool:
        self.seen += 1
        failing = self.seen >= self.at if self.lasting else self.seen == self.at
        if failing:
            os.close(os.open(self.fired, os.O_CREAT | os.O_WRONLY))
        return failing

    def error(self) -> OSError:
        return OSError(self.code, os.strerror(self.code))


class _FailingFile:
    """A file whose writes may fail half-way."""

    def __init__(self, file: Any, disk: FailingDisk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self) -> _FailingFile:
        return self

    def __exit__(self, *problem: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: Any) -> Any:
        if self.disk.fails():
            self.file.write(data[: len(data) // 2])
            raise self.disk.error()
        return self.file.write(data)


def leap_clocks(fired: Path, rng: random.Random) -> None:
    """Set the clocks of the process forward and back while it runs."""
    for name in ("time", "perf_counter", "monotonic"):
        original = getattr(time, name)
        offset, left = [0.0], [rng.randint(1, 50)]

        def leaping(original: Any = original, offset: Any = offset, left: Any = left) -> float:
            left[0] -= 1
            if left[0] == 0:
                offset[0] += rng.choice((-1e6, -100.0, 30.0, 1e4, 1e8))
                left[0] = rng.randint(1, 200)
                fired.touch()
            return float(original() + offset[0])

        setattr(time, name, leaping)


def _wait() -> None:
    while True:
        time.sleep(0.05)


def _spin() -> None:
    while True:
        pass


def _refuse_to_stop() -> None:
    while True:
        with suppress(BaseException):
            time.sleep(0.05)


HANGS: tuple[Action, ...] = (_wait, _spin, _refuse_to_stop)
SIGNALS = {
    "SIGKILL": signal.SIGKILL,
    "SIGTERM": signal.SIGTERM,
    "SIGINT": signal.SIGINT,
    "SIGHUP": signal.SIGHUP,
}
