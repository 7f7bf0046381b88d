"""Executes one run: one method on one task with one seed, until its budget is spent."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

from benchmark import registry
from benchmark.files import BadResults, StorageError, storing, write_atomic
from benchmark.runs.clock import (
    BudgetExhausted,
    Callback,
    Clock,
    DeviceClock,
    NarrowMeter,
    PricedClock,
)
from benchmark.runs.description import SCHEMA_VERSION
from benchmark.runs.folder import Busy
from benchmark.runs.heartbeat import Heartbeat
from benchmark.runs.isolation import hold_threads, isolated, output_to
from benchmark.runs.journal import Journal, carried
from benchmark.runs.judge import Judge
from benchmark.runs.memory import PeakMemory
from benchmark.runs.problem import RecordedProblem, RunEnded
from benchmark.runs.provenance import describe_method, describe_task, device_name, provenance
from benchmark.runs.seeds import Seeds
from benchmark.runs.spec import Outcome, RunSpec, SpecMismatch, in_one_line
from benchmark.runs.watchdog import end_process, watched
from benchmark.runs.watches import ProcessorWatch
from methods.base import Method, Problem
from tasks.base import Task
from tasks.oracles import view

SETUP_SHARE = 0.1
SETUP_SECONDS = 1.0
"""Processor time that making a method may take: a share of its budget, or so many seconds if that
is more. It is charged; beyond this it is work that belongs into `run`."""


def standing(spec: RunSpec) -> str:
    """Status of the run as stored; `finished` only for good, under (at least) its budget.

    Raises SpecMismatch where settings have changed, and BadResults.
    """
    return Journal.read(spec.folder).standing(spec)


def execute(spec: RunSpec, on_charge: Callback | None = None) -> Outcome:
    """Run `spec` from where its folder left off; failures are recorded, not raised.

    A run that is finished, has failed, or is being executed by another process is left alone.
    `on_charge` is called after each charged primitive. Raises StorageError if its folder cannot be
    written: the run is interrupted then.
    """
    folder = spec.folder
    try:
        with folder.owned():
            journal = Journal.open(folder)
            status = journal.standing(spec)
            if status in ("finished", "failed"):
                return Outcome(spec, status, journal.ended[1])
            return Outcome(spec, *_session(spec, journal, on_charge))
    except Busy as error:
        return Outcome(spec, "busy", str(error))


def record_loss(spec: RunSpec, reason: str) -> Outcome:
    """Record as failed a run whose process died, unless its log says how it ended."""
    folder = spec.folder
    with suppress(Busy, BadResults, OSError), folder.owned():
        status, known = Journal.open(folder).ended
        if status != "interrupted":
            return Outcome(spec, status, known)
        folder.append({"kind": "end", "status": "failed", "reason": reason})
    return Outcome(spec, "failed", reason)


def _session(spec: RunSpec, journal: Journal, on_charge: Callback | None) -> tuple[str, str]:
    """One session of a run, from its `start` to its `end`; returns its status and reason."""
    folder = journal.folder
    # A run that was begun under a larger budget is not cut short.
    spec = replace(spec, budget=max(spec.budget, journal.budget))
    heartbeat = Heartbeat(journal)

    def charged(clock: Clock) -> None:
        heartbeat(clock)
        if on_charge is not None:
            on_charge(clock)

    clock = _make_clock(spec, journal, charged)
    memory = PeakMemory(spec.device)
    journal.append(_start(spec))
    status, reason = "interrupted", "stopped"
    changed: list[str] = []
    try:
        with isolated(changed), watched(folder, spec.limit, clock), output_to(folder.output):
            reason = _work(spec, journal, clock)
            heartbeat.beat(clock)
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
            "refusals": clock.refusals,
            "peak_memory_mb": memory.megabytes(),
        }
        if changed:
            end["changed"] = changed
        journal.append(end)
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


def _make_clock(spec: RunSpec, journal: Journal, on_charge: Callback) -> Clock:
    """The run's clock, with what earlier sessions have spent."""

    def on_defiance(clock: Clock) -> None:
        end_process(journal.folder, "the method goes on after its budget has ended")

    seconds = spec.budget * 3600
    clock: Clock
    if spec.clock == "device":
        clock = DeviceClock(seconds, spec.device, on_charge=on_charge, on_defiance=on_defiance)
    else:
        prices = journal.description["spec"]["prices"] if journal.description else spec.prices
        if prices is None:
            raise ValueError("the priced clock needs prices")
        clock = PricedClock(seconds, prices, on_charge=on_charge, on_defiance=on_defiance)
    clock.carry(carried(journal), (journal.clock or {}).get("wall", 0.0))
    return clock


def _work(spec: RunSpec, journal: Journal, clock: Clock) -> str:
    """Set up, let the method work, evaluate the end; returns why the run ended."""
    task, method_class = registry.task(spec.task)(spec.device), registry.method(spec.method)
    task.precision = spec.precision
    describe(spec, journal, task, method_class)
    task.setup()
    _name_evaluator(journal, task)
    _warm_up(task)
    for library in method_class.libraries:
        importlib.import_module(library)
    hold_threads()
    task.meter = NarrowMeter(clock)
    seeds = Seeds(spec.suite_seed, spec.task, spec.seed)
    judge = Judge(task, clock, journal.folder, seeds.of("report"))
    problem = RecordedProblem(task, judge, clock, journal, seeds, spec.label)
    problem.begin()
    reason = "returned"
    with _code_kept(task):
        try:
            method = _construct(lambda: method_class(**spec.options), spec)
            method.run(view(problem, Problem))
        except BudgetExhausted:
            reason = "budget"
    if reason == "returned" and not journal.recorded:
        raise ValueError("the method returned without having evaluated or reported anything")
    problem.finish()
    return "budget" if clock.ledgers["method"] >= 0.95 * clock.budget else reason


def _construct(make: Callable[[], Method], spec: RunSpec) -> Method:
    """Make the method, under the running clock. Raises ValueError if that takes too long."""
    watch = ProcessorWatch()
    method = make()
    seconds, most = watch.lap(), max(SETUP_SHARE * spec.budget * 3600, SETUP_SECONDS)
    if seconds > most:
        raise ValueError(
            f"making {spec.method} took {seconds:.1f} s of processor time, more than {most:.1f} s: "
            "its `__init__` must not do the work of `run`"
        )
    return method


@contextmanager
def _code_kept(task: Task) -> Iterator[None]:
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


_warm: set[tuple[str, str]] = set()


def _warm_up(task: Task) -> None:
    """Run the lower level for a moment, once per process and task: what libraries load and
    compile on first use is no method's doing."""
    if (task.name, task.precision) not in _warm:
        for candidate in task.iterate(task.space.default, (1e-3,), 0):
            task.score(candidate, 0)
        _warm.add((task.name, task.precision))


def describe(spec: RunSpec, journal: Journal, task: Task, method: type[Method]) -> None:
    """Write `run.json`: the run, its task and method, and where it ran with what."""
    stored = journal.description
    if stored is not None:
        _check_place(spec, stored, task)
        if stored["spec"]["budget"] >= spec.budget:
            return
    spec_values = asdict(spec)
    del spec_values["results"]  # folders are moved and given away
    if stored is not None:
        spec_values["prices"] = stored["spec"]["prices"]
    journal.describe(
        {
            "schema": SCHEMA_VERSION,
            "spec": spec_values,
            "space_hash": task.space.hash,
            "task": describe_task(task),
            "method": describe_method(method) | {"options": spec.options},
            "provenance": provenance(spec.device),
        }
    )


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


def _name_evaluator(journal: Journal, task: Task) -> None:
    """Add the identity of the metrics to `run.json`; it is known once models are loaded.

    Raises SpecMismatch if an earlier session of the run was evaluated otherwise.
    """
    stored = journal.description
    assert stored is not None
    before, now = stored["task"]["evaluator"], json.loads(json.dumps(task.evaluator()))
    if before not in ({}, now):
        raise SpecMismatch(
            f"{journal.folder.path} was evaluated with {before}, now {now}: "
            "the values would not compare; run again with --fresh"
        )
    if before != now:
        stored["task"]["evaluator"] = now
        journal.describe(stored)
