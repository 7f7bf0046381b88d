"""Executes one run: one method on one task with one seed, until its budget is spent."""

from __future__ import annotations

import importlib
import os
import socket
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from benchmark import registry
from benchmark.files import BadResults, StorageError, write_atomic
from benchmark.runs.clock import (
    BudgetExhausted,
    Callback,
    Clock,
    DeviceClock,
    NarrowMeter,
    PricedClock,
)
from benchmark.runs.folder import Busy
from benchmark.runs.heartbeat import Heartbeat
from benchmark.runs.isolation import code_kept, isolated, output_to
from benchmark.runs.journal import Journal
from benchmark.runs.judge import Judge
from benchmark.runs.memory import PeakMemory
from benchmark.runs.problem import RecordedProblem
from benchmark.runs.provenance import describe_run, device_name, name_evaluator
from benchmark.runs.seeds import Seeds
from benchmark.runs.spec import Outcome, RunEnded, RunSpec, in_one_line
from benchmark.runs.watchdog import watched
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


def execute(spec: RunSpec, *on_charge: Callback, clock: Clock | None = None) -> Outcome:
    """Run `spec` from where its folder left off; failures are recorded, not raised.

    A run that is finished, has failed, or is being executed by another process is left alone.
    `on_charge` are called after each charged primitive. `clock` is used in place of the one that
    `spec` names. Raises StorageError if its folder cannot be written: the run is interrupted then.
    """
    folder = spec.folder
    try:
        with folder.owned():
            journal = Journal.open(folder)
            status = journal.standing(spec)
            if status in ("finished", "failed"):
                return Outcome(spec, status, journal.ended[1])
            return Outcome(spec, *_session(spec, journal, on_charge, clock))
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


def _session(
    spec: RunSpec, journal: Journal, on_charge: Sequence[Callback], clock: Clock | None
) -> tuple[str, str]:
    """One session of a run, from its `start` to its `end`; returns its status and reason."""
    folder = journal.folder
    # A run that was begun under a larger budget is not cut short.
    spec = replace(spec, budget=max(spec.budget, journal.budget))
    heartbeat = Heartbeat(journal)
    clock = clock or _make_clock(spec, journal, [heartbeat, *on_charge])
    memory = PeakMemory(spec.device)
    journal.append(
        {
            "kind": "start",
            "time": time.time(),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "device": device_name(spec.device),
        }
    )
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


def _make_clock(spec: RunSpec, journal: Journal, on_charge: Sequence[Callback]) -> Clock:
    """The run's clock, with what earlier sessions have spent."""
    seconds = spec.budget * 3600
    clock: Clock
    if spec.clock == "device":
        clock = DeviceClock(seconds, spec.device, on_charge)
    else:
        prices = journal.description["spec"]["prices"] if journal.description else spec.prices
        if prices is None:
            raise ValueError("the priced clock needs prices")
        clock = PricedClock(seconds, prices, on_charge)
    clock.carry(journal.ledgers, (journal.clock or {}).get("wall", 0.0))
    return clock


def _work(spec: RunSpec, journal: Journal, clock: Clock) -> str:
    """Set up, let the method work, evaluate the end; returns why the run ended."""
    task = registry.task(spec.task_file or spec.task)(spec.device)
    method_class = registry.method(spec.method)
    task.precision = spec.precision
    describe_run(spec, journal, task, method_class)
    task.setup()
    name_evaluator(journal, task)
    _warm_up(task)
    with isolated([]):  # libraries may draw random numbers when they load: no fault of the method
        for library in method_class.libraries:
            importlib.import_module(library)
    task.meter = NarrowMeter(clock)
    seeds = Seeds(spec.suite_seed, spec.task, spec.seed)
    judge = Judge(task, clock, journal.folder, seeds.of("report"))
    problem = RecordedProblem(task, judge, clock, journal, seeds, spec.label)
    problem.recorder.begin()
    reason = "returned"
    with code_kept(task):
        try:
            method = _construct(method_class, spec)
            method.run(view(problem, Problem))
        except BudgetExhausted:
            reason = "budget"
    if reason == "returned" and not journal.steps:
        raise ValueError("the method returned without having evaluated or reported anything")
    problem.recorder.finish()
    return "budget" if clock.ledgers["method"] >= 0.95 * clock.budget else reason


def _construct(method_class: type[Method], spec: RunSpec) -> Method:
    """Make the method, under the running clock. Raises ValueError if that takes too long."""
    watch = ProcessorWatch()
    method = method_class(**spec.options)
    seconds, most = watch.lap(), max(SETUP_SHARE * spec.budget * 3600, SETUP_SECONDS)
    if seconds > most:
        raise ValueError(
            f"making {spec.method} took {seconds:.1f} s of processor time, more than {most:.1f} s: "
            "its `__init__` must not do the work of `run`"
        )
    return method


_warm: set[tuple[str, str]] = set()


def _warm_up(task: Task) -> None:
    """`Task.warm_up`, once per process and task."""
    if (task.name, task.precision) not in _warm:
        task.warm_up()
        _warm.add((task.name, task.precision))
