"""The cost of the harness itself with many runs: dispatching, planning, loading, drawing.

    python -m tests.speed.scaling --json results/reference/benchmarks/scaling.json

Runs that do nothing are dispatched to two worker processes of this machine; stored runs are
synthetic (`tests.speed.synthetic`), and commands run as a user would run them. Wall time is given
with processor time beside it, because a loaded machine stretches the first. `--only` measures one
part again and keeps the others of the file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.engine import cluster, executor
from benchmark.engine.cluster import Executor
from benchmark.runs.spec import Outcome, RunSpec
from benchmark.suite import load
from tests.speed import synthetic

COMMANDS = (
    ("status",),
    ("table",),
    ("plot", "--format", "png", "--figure", "anytime"),
    ("plot", "--format", "png"),
)
SIZES = ((1, 10_000), (1_000, 20), (5_000, 20), (10_000, 20))
"""Runs, and trials of each."""
PLANNED = """
seeds = {seeds}
[[tasks]]
name = "finetune/gaussian"
[[tasks]]
name = "schedule/gaussian"
[[methods]]
name = "random"
[[methods]]
name = "bilevel"
"""
PAIRS = 4
"""Number of tasks and of methods in that suite."""


def nothing(spec: RunSpec, terms: object = None) -> Outcome:
    """A run that has ended before it began."""
    return Outcome(spec, "finished")


def handing_out(runs: int, results: str) -> dict[str, Any]:
    """Seconds from a connected cluster to the last outcome, per run."""
    specs = [RunSpec("none", "none/none", "none", "none", i, 1.0, results) for i in range(runs)]
    executor.attempt = nothing
    with Executor(cluster.LOCAL, 2).connect(specs) as connected:
        started = time.perf_counter(), time.process_time()
        ended = list(executor.run_on(connected, specs, lambda spec: None))
        wall, busy = time.perf_counter() - started[0], time.process_time() - started[1]
    assert len(ended) == runs
    return {
        "runs": runs,
        "ms_per_run": 1e3 * wall / runs,
        "processor_ms_per_run": 1e3 * busy / runs,
    }


def timed(*command: str) -> dict[str, Any]:
    """Seconds of one command, as a user would run it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "benchmark", *command], check=True, stdout=subprocess.DEVNULL
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": wall, "processor_seconds": busy}


def planning(runs: int, events: int, folder: Path) -> Iterator[dict[str, Any]]:
    """`run --dry-run`: of runs that were never begun, and of finished ones."""
    folder.mkdir()
    file = folder / "planned.toml"
    file.write_text(PLANNED.format(seeds=runs // PAIRS))
    command = ("run", "--all", "--suite", str(file), "--results", str(folder), "--dry-run")
    yield {"runs": runs, "finished": 0, **timed(*command, "--workers", "2")}
    for number, spec in enumerate(load(str(file)).specs(folder, "device", "cpu")):
        synthetic.write_run(spec.folder.path, asdict(spec), events, number)
    yield {"runs": runs, "finished": runs, "events": events, **timed(*command, "--workers", "2")}


def stored(runs: int, events: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Each command on a suite of stored runs."""
    synthetic.write(folder / "stored", runs, events)
    for command in COMMANDS:
        where = ("--suite", "stored", "--results", str(folder))
        yield {
            "runs": runs,
            "events": events,
            "command": " ".join(command),
            **timed(*command, *where),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=PARTS)
    arguments = parser.parse_args()
    file = arguments.json
    found = json.loads(file.read_text()) if arguments.only and file and file.exists() else {}
    for part in [arguments.only] if arguments.only else PARTS:
        with tempfile.TemporaryDirectory() as name:
            rows = []
            for row in PARTS[part](Path(name)):
                print(row, flush=True)
                rows.append(row)
        found[part] = {"load": os.getloadavg()[0], "cores": os.cpu_count(), "rows": rows}
        if file:
            file.write_text(json.dumps(found, indent=1) + "\n")


PARTS: dict[str, Callable[[Path], Iterable[dict[str, Any]]]] = {
    "out": lambda folder: (handing_out(runs, str(folder)) for runs in (1_000, 10_000)),
    "planned": lambda folder: (
        row for runs in (PAIRS, 10_000) for row in planning(runs, 20, folder / str(runs))
    ),
    "stored": lambda folder: (
        row for runs, events in SIZES for row in stored(runs, events, folder / str(runs))
    ),
}


if __name__ == "__main__":
    main()
