"""Executes one run: one method on one task with one seed, until its budget is spent."""

from __future__ import annotations

import importlib
import json
import os
import resource
import socket
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.files import BadResults, StorageError, storing, write_atomic, write_json
from benchmark.runs.clock import (
    BudgetExhausted,
    Clock,
    DeviceClock,
    NarrowMeter,
    PricedClock,
    Stopwatch,
)
from benchmark.runs.folder import Busy, RunFolder, effective_steps, ending, run_folder
from benchmark.runs.isolation import isolated, output_to
from benchmark.runs.problem import RecordedProblem, RunEnded
from benchmark.runs.provenance import describe_method, describe_task, device_name, provenance
from benchmark.runs.watchdog import watched
from benchmark.study.results import SCHEMA_VERSION, read_description
from methods.base import Method
from tasks.base import Task

HEARTBEAT_SECONDS = 1.0
REASON_LENGTH = 500
"""Characters of an error's message that its record keeps; all of it is in `error.txt`."""


class SpecMismatch(ValueError):
    """A run folder holds a run of other settings than the one asked for."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that defines one run; plain values, so it travels to any worker."""

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

    @property
    def limit(self) -> float:
        """`hard_limit`, or 10 minutes more than one and a half budgets, for each run that shares
        the device."""
        if self.hard_limit is not None:
            return self.hard_limit
        return self.runs_per_device * (1.5 * self.budget * 3600 + 600)

    @property
    def folder(self) -> RunFolder:
        return run_folder(Path(self.results), self.suite, self.task, self.label, self.seed)

    def identity(self) -> dict[str, Any]:
        """What must not change between the sessions of one run."""
        free = ("budget", "results", "prices", "method", "hard_limit", "runs_per_device")
        return {key: value for key, value in vars(self).items() if key not in free}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `finished`, `failed` or `interrupted` (with its reason), or `busy`: in
    the hands of another process."""

    spec: RunSpec
    status: str
    reason: str = ""


def standing(spec: RunSpec) -> str:
    """`store.status` of the run; `finished` only for good, under (at least) this budget.

    Raises SpecMismatch where settings have changed, and BadResults.
    """
    folder = spec.folder
    stored = read_description(folder)
    if stored is not None:
        check_identity(spec, stored["spec"])
    status, reason = ending(folder)
    if status == "finished" and (
        stored is None or (reason != "returned" and stored["spec"]["budget"] < spec.budget)
    ):
        return "interrupted"
    return status


def check_identity(spec: RunSpec, stored: dict[str, Any]) -> None:
    """Raise SpecMismatch, naming the setting, if `stored` is not a session of `spec`."""
    before = {"precision": "float32"} | stored  # older runs do not say so
    for key, value in json.loads(json.dumps(spec.identity())).items():
        if before.get(key) != value:
            raise SpecMismatch(
                f"{spec.folder.path} was run with {key} = {before.get(key)!r}, now {value!r}; "
                "choose another --results folder, or run with --fresh to start over"
            )


def execute(spec: RunSpec) -> Outcome:
    """Run `spec` from where its folder left off; failures are recorded, not raised.

    A run that is finished, has failed, or is in another process's hands is left alone.
    Raises StorageError if its folder cannot be written: the run is interrupted then.
    """
    folder = spec.folder
    try:
        with folder.owned():
            folder.mend()
            status = standing(spec)
            if status in ("finished", "failed"):
                return Outcome(spec, status, ending(folder)[1])
            return Outcome(spec, *_session(spec))
    except Busy as error:
        return Outcome(spec, "busy", str(error))


def record_loss(spec: RunSpec, reason: str) -> Outcome:
    """Record as failed a run whose process died, unless it has left word itself."""
    folder = spec.folder
    with suppress(Busy, BadResults, OSError), folder.owned():
        folder.mend()
        status, known = ending(folder)
        if status != "interrupted":
            return Outcome(spec, status, known)
        folder.append({"kind": "end", "status": "failed", "reason": reason})
    return Outcome(spec, "failed", reason)


def _session(spec: RunSpec) -> tuple[str, str]:
    """One session of a run, from its `start` to its `end`; returns its status and reason."""
    folder = spec.folder
    watch = Stopwatch()
    stored = read_description(folder)
    if stored is not None:  # what was begun under a larger budget is not cut short
        spec = replace(spec, budget=max(spec.budget, stored["spec"]["budget"]))
    clock = _make_clock(spec)
    carried = _carried_ledgers(folder)
    clock.ledgers.update(carried)
    with storing():
        folder.append(_start(spec))
    status, reason = "interrupted", "stopped"
    changed: list[str] = []
    try:
        with isolated(changed), watched(folder, spec.limit, clock):
            reason = _work(spec, clock)
        status = "finished"
    except (Exception, SystemExit, RunEnded) as error:
        fault = (error.__cause__ or error) if isinstance(error, RunEnded) else error
        reason = in_one_line(fault)
        if isinstance(fault, StorageError):
            raise fault from None
        status = "failed"
        with storing():
            write_atomic(folder.error, "".join(traceback.format_exception(fault)))
    finally:
        end = {
            "kind": "end",
            "status": status,
            "reason": reason,
            "clock": clock.snapshot(),
            "wall": watch.lap() + sum(carried.values()),
            "peak_memory_mb": _peak_memory_mb(spec.device),
        }
        if changed:
            end["changed"] = changed
        with storing():
            folder.append(end)
    return status, reason


def _start(spec: RunSpec) -> dict[str, Any]:
    """The record that begins a session."""
    return {
        "kind": "start",
        "time": time.time(),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "device": device_name(spec.device),
    }


def in_one_line(error: BaseException) -> str:
    """Type and message of an exception, in one line of bounded length."""
    text = " ".join(str(error).split())
    shortened = text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]}..."
    return f"{type(error).__name__}: {shortened}" if text else type(error).__name__


def _work(spec: RunSpec, clock: Clock) -> str:
    """Set up, let the method work, evaluate the end; returns why the run ended."""
    with output_to(spec.folder.output):
        task, method = _build(spec)
        describe(spec, task, method)
        task.setup()
        _name_evaluator(spec.folder, task)
        _warm_up(task)
        task.meter = NarrowMeter(clock)
        for library in method.libraries:
            importlib.import_module(library)
        shared = (spec.suite_seed, spec.task, spec.seed)
        problem = RecordedProblem(task, clock, spec.folder, spec.label, shared)
        clock.on_charge = _heartbeat(spec.folder, clock, problem)
        reason = "returned"
        problem.begin()
        try:
            method.run(problem)
        except BudgetExhausted:
            reason = "budget"
        if reason == "returned" and not problem.steps:
            raise ValueError("the method returned without having evaluated or reported anything")
        problem.finish()
        clock.on_charge()
    return "budget" if clock.ledgers["method"] >= 0.95 * clock.budget else reason


_warm: set[tuple[str, str]] = set()


def _warm_up(task: Task) -> None:
    """Run the lower level for a moment, once per process and task: what libraries load and
    compile on first use is no method's doing."""
    if (task.name, task.precision) not in _warm:
        for candidate in task.iterate(task.space.default, (1e-3,), 0):
            task.score(candidate, 0)
        _warm.add((task.name, task.precision))


def _build(spec: RunSpec) -> tuple[Task, Method]:
    task = registry.task(spec.task)(spec.device)
    task.precision = spec.precision
    method = registry.method(spec.method)(**spec.options)
    return task, method


def _make_clock(spec: RunSpec) -> Clock:
    seconds = spec.budget * 3600
    if spec.clock == "device":
        return DeviceClock(seconds, spec.device)
    stored = read_description(spec.folder)
    prices = stored["spec"]["prices"] if stored else spec.prices
    if prices is None:
        raise ValueError("the priced clock needs prices")
    return PricedClock(seconds, prices)


def _carried_ledgers(folder: RunFolder) -> dict[str, float]:
    """Ledgers as earlier sessions left them.

    Charged is what led to a recorded step; what an interruption cut off is done again, so its
    time moves to `setup`.
    """
    events = folder.events()
    clocked = [record for record in events if "clock" in record]
    if not clocked:
        return {}
    ledgers: dict[str, float] = dict(clocked[-1]["clock"]["ledgers"])
    steps = effective_steps(events)
    charged = steps[-1]["clock"]["ledgers"]["method"] if steps else 0.0
    ledgers["setup"] += max(ledgers["method"] - charged, 0.0)  # less if cut off in a replay
    ledgers["method"] = charged
    return ledgers


def describe(spec: RunSpec, task: Task, method: Method) -> None:
    """Write `run.json`: the run, its task and method, and where it ran with what."""
    folder = spec.folder
    stored = read_description(folder)
    if stored is not None:
        check_identity(spec, stored["spec"])
        _check_place(spec, stored, task)
        if stored["spec"]["budget"] >= spec.budget:
            return
    spec_values = asdict(spec)
    del spec_values["results"]  # folders are moved and given away
    if stored is not None:
        spec_values["prices"] = stored["spec"]["prices"]
    description = {
        "schema": SCHEMA_VERSION,
        "spec": spec_values,
        "space_hash": task.space.hash,
        "task": describe_task(task),
        "method": describe_method(method) | {"options": spec.options},
        "provenance": provenance(spec.device),
    }
    with storing():
        write_json(folder.description, description)


def _check_place(spec: RunSpec, stored: dict[str, Any], task: Task) -> None:
    """Raise SpecMismatch if the space or, where time is measured, the device is another one."""
    device = device_name(spec.device)
    known = {"the space": (stored["space_hash"], task.space.hash)}
    if spec.clock == "device":
        known["the device"] = (stored["provenance"]["device"], device)
    for what, (before, now) in known.items():
        if before != now:
            raise SpecMismatch(
                f"{spec.folder.path}: {what} was {before}, now {now}, which do not compare; "
                "go on where the run was begun, or run with --fresh to start over"
            )


def _name_evaluator(folder: RunFolder, task: Task) -> None:
    """Add the identity of the metrics to `run.json`; it is known once models are loaded.

    Raises SpecMismatch if an earlier session of the run was evaluated otherwise.
    """
    stored = read_description(folder)
    assert stored is not None
    identity = json.loads(json.dumps(task.evaluator()))
    if stored["task"]["evaluator"] not in ({}, identity):
        raise SpecMismatch(
            f"{folder.path} was evaluated with {stored['task']['evaluator']}, now {identity}: "
            "the values would not compare; run again with --fresh"
        )
    if stored["task"]["evaluator"] != identity:
        stored["task"]["evaluator"] = identity
        with storing():
            write_json(folder.description, stored)


def _heartbeat(folder: RunFolder, clock: Clock, problem: RecordedProblem) -> Any:
    """A sign of life about once a second: budget used and the best reported metrics."""
    due = 0.0

    def beat() -> None:
        nonlocal due
        now = time.monotonic()
        if now < due and clock.ledger == "method":
            return
        due = now + HEARTBEAT_SECONDS
        life = {"time": time.time(), "progress": problem.progress, "metrics": problem.metrics}
        temporary = folder.heartbeat.with_suffix(".tmp")
        with suppress(OSError):  # what goes wrong here is no reason to end a run
            temporary.write_text(json.dumps(life))
            os.replace(temporary, folder.heartbeat)

    return beat


def _peak_memory_mb(device: str) -> float:
    """Peak resident memory of this worker so far, in MB (10^6 bytes)."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        kilobytes /= 1024  # macOS reports bytes
    return round(kilobytes * 1024 / 1e6, 1)
