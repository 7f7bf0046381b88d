"""Runs a suite from plan to figures: what is left to do, on which workers, drawn as it goes."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark import calibration
from benchmark.executor import run_here, run_on_workers
from benchmark.live import Progress, follow
from benchmark.runner import RunSpec, is_finished
from benchmark.store import status

DRAWING_SPACING = 120.0
"""Least seconds between two interim drawings."""


class SessionError(ValueError):
    """A session that cannot start; the message says what to do."""


@dataclass(frozen=True)
class Plan:
    """The runs of a suite, sorted by what is to be done with them."""

    specs: list[RunSpec]
    pending: list[RunSpec]
    failed: list[RunSpec]
    """Failed earlier and left alone; `--retry-failed` makes them pending."""
    retried: list[RunSpec]
    """Failed earlier, and pending again."""

    @property
    def gpu_hours(self) -> float:
        return sum(spec.budget for spec in self.pending)


def default_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def default_workers(device: str) -> int:
    """One worker per device: the GPUs, or the CPU cores this process may use."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_plan(specs: Iterable[RunSpec], retry_failed: bool = False) -> Plan:
    """Decide what is left to do. Raises SpecMismatch where settings have changed, and Damaged
    where a log cannot be read."""
    specs = list(specs)
    pending, failed, retried = [], [], []
    for spec in specs:
        if is_finished(spec):
            continue
        broken = status(spec.folder) == "failed"
        if broken and not retry_failed:
            failed.append(spec)
            continue
        pending.append(spec)
        if broken:
            retried.append(spec)
    return Plan(specs, pending, failed, retried)


def start_over(specs: Iterable[RunSpec]) -> None:
    """Delete the runs' folders. Raises SessionError if one is in use."""
    folders = [spec.folder for spec in specs]
    for folder in folders:
        if folder.is_owned():
            raise SessionError(f"{folder.path} is in use by another process")
    for folder in folders:
        folder.discard()


def with_prices(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Fill in the prices that the priced clock needs, one calibration per task."""
    return [
        replace(spec, prices=calibration.prices(spec.task, spec.device))
        if spec.clock == "priced"
        else spec
        for spec in specs
    ]


def run(
    plan: Plan, workers: int, console: Console, draw: Callable[[Path], Any]
) -> Progress:  # fmt: skip
    """Execute the plan's pending runs; `draw` the suite's folder whenever a task completes."""
    for spec in plan.retried:
        with spec.folder.owned():
            spec.folder.mend()
            spec.folder.append({"kind": "retry", "time": time.time()})
    specs = with_prices(plan.pending)
    done_before = len(plan.specs) - len(plan.pending) - len(plan.failed)
    progress = Progress(specs, total=len(plan.specs), workers=max(workers, 1), finished=done_before)
    left = Counter(spec.task for spec in specs)
    due = 0.0

    def follow_up(spec: RunSpec) -> Callable[[], Any] | None:
        """Draw what there is when a task is complete, but not all the time."""
        nonlocal due
        left[spec.task] -= 1
        if left[spec.task] > 0 or sum(left.values()) == 0 or time.monotonic() < due:
            return None
        due = time.monotonic() + DRAWING_SPACING
        return partial(draw, Path(spec.results) / spec.suite)

    if not specs:
        return progress
    if workers == 0:
        outcomes = run_here(specs, follow_up)
    else:
        outcomes = run_on_workers(specs, min(workers, len(specs)), follow_up)
    follow(console, progress, outcomes)
    return progress
