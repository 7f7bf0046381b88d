"""What the harness itself costs when runs are many: handing out, planning, loading, drawing.

    python -m benchmarks.scaling --json results/reference/benchmarks/scaling.json

Runs that do nothing are handed out to two worker processes of this machine; stored runs are
synthetic (`benchmarks.synthetic`), their commands run as a user would. Seconds are wall time, and
processor time beside it, because a loaded machine stretches the first.
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
from pathlib import Path
from typing import Any

from benchmark import cluster, executor
from benchmark.cluster import Executor
from benchmark.runner import Outcome, RunSpec
from benchmarks import synthetic

COMMANDS = (("status",), ("table",), ("plot", "--format", "png"))


def nothing(spec: RunSpec, terms: object = None) -> Outcome:
    """A run that has ended before it began."""
    return Outcome(spec, "finished")


def handing_out(runs: int, results: str) -> dict[str, Any]:
    """Seconds from a connected cluster to the last outcome, per run."""
    specs = [RunSpec("none", "none/none", "none", "none", i, 1.0, results) for i in range(runs)]
    executor.attempt = nothing
    with Executor(cluster.LOCAL, 2).connect(specs) as connected:
        started = time.perf_counter(), time.process_time()
        ended = list(executor.run_on(connected, specs, lambda spec: None, lambda spec: None))
        wall, busy = time.perf_counter() - started[0], time.process_time() - started[1]
    assert len(ended) == runs
    return {
        "runs": runs,
        "ms_per_run": 1e3 * wall / runs,
        "processor_ms_per_run": 1e3 * busy / runs,
    }


def stored(runs: int, events: int, folder: Path) -> list[dict[str, Any]]:
    """Seconds of each command on a suite of stored runs."""
    synthetic.write(folder / "stored", runs, events)
    rows = []
    for command in COMMANDS:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "benchmark", *command, "--suite", "stored", "--results", folder],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows.append({"runs": runs, "events": events, "command": " ".join(command),
                     "seconds": wall, "processor_seconds": busy})  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"load": os.getloadavg()[0], "cores": os.cpu_count(), "out": []}
    with tempfile.TemporaryDirectory() as name:
        for runs in (1_000, 10_000):
            found["out"].append(handing_out(runs, name))
            print(found["out"][-1], flush=True)
        sizes = ((1, 10_000), (1_000, 20), (5_000, 20), (10_000, 20))
        found["stored"] = [
            row for runs, events in sizes for row in stored(runs, events, Path(name, f"{runs}"))
        ]
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
