"""Whether a budget buys the same work on a loaded machine.

    python -m tests.speed.load --json results/reference/benchmarks/load.json

Runs under the device clock, beside 0, 1 and 3 busy loops per core. Passes if the images that each
method trains on stay within 30 % of those without load, and its mean primary metric within the
spread of the seeds (twice the standard deviation on the log scale, or 5 % if that is more).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.runs.journal import Journal
from benchmark.runs.runner import execute
from benchmark.runs.spec import RunSpec

TOLERANCE = 0.3
LEAST_SPREAD = 0.05


@dataclass(frozen=True)
class Measured:
    """One run: busy loops per core beside it, and what its budget bought."""

    loops: int
    method: str
    seed: int
    wall: float
    charged: float
    images: int
    """Images trained on."""
    value: float
    """The primary metric of what was delivered."""


@contextmanager
def load(loops: int) -> Iterator[None]:
    """Keep every core busy with so many loops."""
    code = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(code) for _ in range(loops * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measure(spec: RunSpec, loops: int) -> Measured:
    """Execute a run to its end. Raises RuntimeError if it fails."""
    outcome = execute(spec)
    if outcome.status != "finished":
        raise RuntimeError(f"{spec.label}: {outcome.reason}")
    clock = Journal.read(spec.folder).clock
    assert clock is not None
    metric = registry.task(spec.task).metrics[0].name
    metrics = [event["metrics"] for event in spec.folder.events() if event.get("metrics")]
    return Measured(
        loops,
        spec.label,
        spec.seed,
        clock["wall"],
        clock["ledgers"]["method"],
        clock["work"]["train_images"],
        metrics[-1][metric],
    )


def problems(found: list[Measured]) -> Iterator[str]:
    """What load has changed more than it may."""
    least = min(one.loops for one in found)
    for method in dict.fromkeys(one.method for one in found):
        own = [one for one in found if one.method == method]
        idle = [one for one in own if one.loops == least]
        for loops in sorted({one.loops for one in own} - {least}):
            loaded = [one for one in own if one.loops == loops]
            images = _mean(one.images for one in loaded) / _mean(one.images for one in idle)
            if abs(images - 1) > TOLERANCE:
                yield f"{method} beside {loops}: {images:.2f} of the images trained without load"
            logs = [[log(one.value) for one in part] for part in (idle, loaded)]
            spread = max(2 * statistics.stdev(logs[0]) if len(idle) > 1 else 0.0, LEAST_SPREAD)
            shift = abs(_mean(logs[1]) - _mean(logs[0]))
            if shift > spread:
                yield (
                    f"{method} beside {loops}: {exp(shift):.2f} times off, more than the seeds' "
                    f"{exp(spread):.2f}"
                )


def _mean(values: Any) -> float:
    return statistics.fmean(values)


def table(found: list[Measured]) -> str:
    """Markdown, one row per run."""
    head = "| busy loops a core | method | seed | wall s | charged s | images trained | metric |"
    rows = (
        f"| {one.loops} | `{one.method}` | {one.seed} | {one.wall:.1f} | {one.charged:.1f} "
        f"| {one.images} | {one.value:.3g} |"
        for one in found
    )
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.speed.load", description=__doc__)
    parser.add_argument("--task", default="schedule/digits")
    parser.add_argument("--method", nargs="+", default=["default", "bilevel"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, help="budget of a run; the task's own")
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 1, 3])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    budget = asked.seconds / 3600 if asked.seconds else registry.task(asked.task).budget
    found = []
    with tempfile.TemporaryDirectory() as results:
        for loops in asked.loops:
            with load(loops):
                for method in asked.method:
                    for seed in range(asked.seeds):
                        spec = RunSpec(
                            f"load-{loops}", asked.task, method, method, seed, budget, results
                        )
                        found.append(measure(spec, loops))
    print(table(found))
    wrong = list(problems(found))
    print("\n".join(wrong) or "load changes nothing beyond the spread of the seeds")
    if asked.json:
        asked.json.write_text(json.dumps([vars(one) for one in found], indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
