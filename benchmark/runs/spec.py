"""The definition of a run and its outcome: plain values that travel to any worker and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from benchmark.runs.folder import RunFolder

REASON_LENGTH = 500
"""Characters of an error's message that its record keeps; all of it is in `error.txt`."""


FREE = ("budget", "results", "prices", "method", "task_file", "hard_limit", "runs_per_device")
"""Settings of a run that may change between its sessions."""


class SpecMismatch(UserError):
    """A run folder holds a run of other settings than the one asked for."""


class RunEnded(BaseException):
    """Ends a run for the reason that is its cause: the task failed, or the log does not fit.

    Not an `Exception`: a method that caught it would continue from a step that is not in the log,
    and could not be resumed.
    """


@contextmanager
def ending_run() -> Iterator[None]:
    """Whatever fails inside ends the run, even if the method catches exceptions."""
    try:
        yield
    except Exception as error:
        raise RunEnded from error


@dataclass(frozen=True)
class RunSpec:
    """Everything that defines one run."""

    suite: str
    task: str
    label: str
    """Name of the method in this suite; the method itself may appear under several."""
    method: str
    """Registered name, or path of a Python file."""
    seed: int
    budget: float
    """GPU-hours."""
    results: str
    """Folder of all suites' results."""
    options: dict[str, Any] = field(default_factory=dict)
    suite_seed: int = 0
    clock: str = "device"
    device: str = "cpu"
    prices: dict[str, float] | None = None
    """Seconds per unit of each primitive operation, for the priced clock."""
    hard_limit: float | None = None
    """Seconds that a session of the run may take, evaluations aside."""
    precision: str = "float32"
    """Number format that the task's networks compute in: `Task.precisions`."""
    runs_per_device: int = 1
    """How many runs may share a device with this one; more than one under the priced clock only."""
    task_file: str = ""
    """Where the task is defined, as `registry.task` takes it; empty for a registered one."""

    @property
    def limit(self) -> float:
        """`hard_limit`, or 10 minutes more than one and a half budgets, for each run that shares
        the device."""
        if self.hard_limit is not None:
            return self.hard_limit
        return self.runs_per_device * (1.5 * self.budget * 3600 + 600)

    @property
    def folder(self) -> RunFolder:
        path = Path(self.results, self.suite, "runs", self.task, self.label, str(self.seed))
        return RunFolder(path)

    def identity(self) -> dict[str, Any]:
        """Settings that must not change between the sessions of one run."""
        return {key: value for key, value in vars(self).items() if key not in FREE}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `finished`, `failed` or `interrupted` (with its reason), or `busy`: being
    executed by another process."""

    spec: RunSpec
    status: str
    reason: str = ""


def check_identity(spec: RunSpec, stored: dict[str, Any]) -> None:
    """Raise SpecMismatch, naming the setting, if `stored` is not a session of `spec`."""
    before = {"precision": "float32"} | stored  # older runs do not say so
    now = json.loads(json.dumps(spec.identity()))
    require_same(spec.folder.path, {key: (before.get(key), value) for key, value in now.items()})


def require_same(run: Path, settings: Mapping[str, tuple[Any, Any]]) -> None:
    """Raise SpecMismatch, naming the setting, if one was another when the run was begun."""
    for name, (before, now) in settings.items():
        if before != now:
            raise SpecMismatch(
                f"{run} was run with {name} = {before!r}, now {now!r}, which do not compare: go on "
                "as it was begun, choose another --results folder, or start over with --fresh"
            )


def in_one_line(error: BaseException) -> str:
    """Type and message of an exception, in one line of bounded length."""
    text = " ".join(str(error).split())
    shortened = text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]}..."
    return f"{type(error).__name__}: {shortened}" if text else type(error).__name__
