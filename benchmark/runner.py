"""Executes one run: one method on one task with one seed, until its budget is spent."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.clock import BudgetExhausted, Clock, DeviceClock, PricedClock
from benchmark.problem import RecordedProblem
from benchmark.provenance import describe_method, describe_task, provenance
from benchmark.results import SCHEMA_VERSION
from benchmark.store import (
    RunFolder,
    effective_steps,
    read_json,
    run_folder,
    status,
    write_atomic,
    write_json,
)
from methods.base import Method
from tasks.base import Task

HEARTBEAT_SECONDS = 1.0


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

    @property
    def folder(self) -> RunFolder:
        return run_folder(Path(self.results), self.suite, self.task, self.label, self.seed)

    def identity(self) -> dict[str, Any]:
        """What must not change between the sessions of one run."""
        free = ("budget", "results", "prices", "method")
        return {key: value for key, value in asdict(self).items() if key not in free}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `finished`, `failed` (with its reason), or `busy`."""

    spec: RunSpec
    status: str
    reason: str = ""


def is_finished(spec: RunSpec) -> bool:
    """Whether the run has ended for good under (at least) this budget."""
    stored = read_json(spec.folder.description)
    if stored is None:
        return False
    check_identity(spec, stored["spec"])
    end = spec.folder.last_event()
    if end is None or status(spec.folder, end) != "finished":
        return False
    return bool(end["reason"] == "returned" or stored["spec"]["budget"] >= spec.budget)


def check_identity(spec: RunSpec, stored: dict[str, Any]) -> None:
    """Raise SpecMismatch, naming the setting, if `stored` is not a session of `spec`."""
    for key, value in json.loads(json.dumps(spec.identity())).items():
        if stored.get(key) != value:
            raise SpecMismatch(
                f"{spec.folder.path} was run with {key} = {stored.get(key)!r}, now {value!r}; "
                "choose another --results folder, or run with --fresh to start over"
            )


def execute(spec: RunSpec) -> Outcome:
    """Run `spec` from where its folder left off; failures are recorded, not raised."""
    import torch

    torch.set_num_threads(1)  # a CPU worker is one thread: see docs/protocol.md
    folder = spec.folder
    with folder.owned():
        started = time.perf_counter()
        folder.mend()
        clock = _make_clock(spec)
        carried = _carried_ledgers(folder)
        clock.ledgers.update(carried)
        folder.append({"kind": "start", "time": time.time(), "pid": os.getpid()})
        outcome, reason = "interrupted", ""
        try:
            task, method = _build(spec)
            describe(spec, task, method)
            reason = _work(spec, task, method, clock)
            outcome = "finished"
        except Exception as error:
            outcome = "failed"
            reason = f"{type(error).__name__}: {error}"
            write_atomic(folder.error, traceback.format_exc())
        finally:
            snapshot = clock.snapshot()
            wall = time.perf_counter() - started + sum(carried.values())
            folder.append(
                {
                    "kind": "end",
                    "status": outcome,
                    "reason": reason,
                    "clock": snapshot,
                    "wall": wall,
                    "peak_memory_mb": _peak_memory_mb(spec.device),
                }
            )
    return Outcome(spec, outcome, reason)


def _work(spec: RunSpec, task: Task, method: Method, clock: Clock) -> str:
    """Set up, let the method work, evaluate the end; returns why the run ended."""
    task.setup()
    _name_evaluator(spec.folder, task)
    _warm_up(task)
    task.meter = clock
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
    problem.finish()
    clock.on_charge()
    return "budget" if clock.ledgers["method"] >= 0.95 * clock.budget else reason


_warm: set[str] = set()


def _warm_up(task: Task) -> None:
    """Run the lower level for a moment, once per process and task: what libraries load and
    compile on first use is no method's doing."""
    if task.name not in _warm:
        for candidate in task.iterate(task.space.default, (1e-3,), 0):
            task.score(candidate, 0)
        _warm.add(task.name)


def _build(spec: RunSpec) -> tuple[Task, Method]:
    task = registry.task(spec.task)(spec.device)
    method = registry.method(spec.method)(**spec.options)
    return task, method


def _make_clock(spec: RunSpec) -> Clock:
    seconds = spec.budget * 3600
    if spec.clock == "device":
        return DeviceClock(seconds, spec.device)
    stored = read_json(spec.folder.description)
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
    stored = read_json(folder.description)
    if stored is not None:
        check_identity(spec, stored["spec"])
        if stored["spec"]["budget"] >= spec.budget:
            return
    spec_values = asdict(spec)
    if stored is not None:
        spec_values["prices"] = stored["spec"]["prices"]
    write_json(
        folder.description,
        {
            "schema": SCHEMA_VERSION,
            "spec": spec_values,
            "space_hash": task.space.hash,
            "task": describe_task(task),
            "method": describe_method(method) | {"options": spec.options},
            "provenance": provenance(spec.device),
        },
    )


def _name_evaluator(folder: RunFolder, task: Task) -> None:
    """Add the identity of the metrics to `run.json`; it is known once models are loaded.

    Raises SpecMismatch if an earlier session of the run was evaluated otherwise.
    """
    stored = read_json(folder.description)
    identity = json.loads(json.dumps(task.evaluator()))
    if stored["task"]["evaluator"] not in ({}, identity):
        raise SpecMismatch(
            f"{folder.path} was evaluated with {stored['task']['evaluator']}, now {identity}: "
            "the values would not compare; run again with --fresh"
        )
    if stored["task"]["evaluator"] != identity:
        stored["task"]["evaluator"] = identity
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
        temporary.write_text(json.dumps(life))
        os.replace(temporary, folder.heartbeat)

    return beat


def _peak_memory_mb(device: str) -> float:
    """Peak resident memory of this worker so far, in MB (10^6 bytes)."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        kilobytes /= 1024  # macOS reports bytes
    return round(kilobytes * 1024 / 1e6, 1)
