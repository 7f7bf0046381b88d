"""Stored results of one suite, loaded for analysis: tidy frames and what describes them.

Everything a table or a figure shows is computed from a `Results`, so that results can be
drawn again on a machine that never ran them and has neither the tasks nor a GPU.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.store import (
    REMEDY,
    Damaged,
    Record,
    RunFolder,
    effective_steps,
    ending,
    read_json,
    run_folders,
    write_atomic,
)

SCHEMA_VERSION = 1
DESCRIBED = {"spec", "task", "method", "space_hash", "provenance"}
"""What every `run.json` says."""


@dataclass(frozen=True)
class Results:
    """One suite's results.

    `frame` has one row per (event, metric):

    ============== ======= ===================================================================
    suite          str     suite name
    task           str     e.g. `finetune/digits`
    method         str     label in the suite, e.g. `grid` or `grid-smoothed`
    seed           int     run seed
    event          int     position in the run's log
    kind           str     `trial` (a scored solve) or `report` (a single-run method's state)
    trial          int     number of the trial or report within its run
    fidelity       float   trial length in units of the task's standard trial; NaN for reports
    gpu_hours      float   charged when the event was recorded
    budget         float   the run's budget in GPU-hours
    nfe            int     network evaluations charged so far
    train_images   int     training images seen so far
    scored_images  int     images through a reward or metric so far
    incumbent      bool    whether the event became what the run would deliver
    metric         str     `score` (selection loss), `param:NAME`, `shown:NAME` (a number that
                           the candidate shows beside its parameters, such as
                           `shown:sampling: tau`), or a reported metric's name
    value          float   natural way round for reported metrics
    ============== ======= ===================================================================

    `runs` has one row per run: `suite, task, method, seed, status` (finished, running,
    interrupted, failed), `reason` of its end, `budget`, `gpu_hours`, the ledgers in seconds
    (`setup_s, method_s, evaluation_s, checkpoint_s`) and their sum `wall_s`, `breakdown` (JSON:
    charged seconds by operation, and `overhead` for the method's own code), `device`, `clock`,
    `peak_memory_mb`, `samples` (path of the incumbent's last sample grid: a PNG of 8 columns
    of square tiles without padding, or None), `tile` (tile size in pixels).

    `tasks[name]` has `description, family, metrics` (list of `name, label,
    higher_is_better, log`; the first is primary), `variables` (list of `name, low, high,
    default, log`), `references` (metric values of the stored `default` and `tuned` runs, or
    empty), `evaluator` and, where `benchmark.drawing.read` has added it, `landscape` (see
    `tasks.base.Task.landscape`, or None). `methods[label]` has `name, description, citation,
    uses, options`.
    """

    suite: str
    folder: Path
    frame: pd.DataFrame
    runs: pd.DataFrame
    tasks: dict[str, dict[str, Any]]
    methods: dict[str, dict[str, Any]]


COLUMNS = {
    "suite": "str", "task": "str", "method": "str", "seed": "int64", "event": "int64",
    "kind": "str", "trial": "int64", "fidelity": "float64", "gpu_hours": "float64",
    "budget": "float64", "nfe": "int64", "train_images": "int64", "scored_images": "int64",
    "incumbent": "bool", "metric": "str", "value": "float64",
}  # fmt: skip
RUN_COLUMNS = (
    "suite", "task", "method", "seed", "status", "reason", "budget", "gpu_hours", "setup_s",
    "method_s", "evaluation_s", "checkpoint_s", "wall_s", "breakdown", "device", "clock",
    "peak_memory_mb", "samples", "tile",
)  # fmt: skip


def read_description(run: RunFolder) -> dict[str, Any] | None:
    """What `run.json` holds, or None if there is none yet. Raises Damaged if it is unreadable or
    of another schema."""
    found = read_json(run.description)
    if found is None:
        return None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA_VERSION or not found.keys() >= DESCRIBED:
        raise Damaged(
            f"{run.description} is of schema {schema}, this version reads {SCHEMA_VERSION}; "
            "read it with the version that wrote it, or run this run again with --fresh"
        )
    description: dict[str, Any] = found
    return description


def load(folder: Path) -> Results:
    """Read a suite's run folders. Raises FileNotFoundError when there is no run in `folder`."""
    rows: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    tasks: dict[str, dict[str, Any]] = {}
    methods: dict[str, dict[str, Any]] = {}
    for run in run_folders(folder):
        description = read_description(run)
        if description is None:  # failed before there was anything to describe
            continue
        spec = description["spec"]
        tasks.setdefault(spec["task"], description["task"])
        methods.setdefault(spec["label"], description["method"])
        events = run.events()
        key = {
            "suite": spec["suite"],
            "task": spec["task"],
            "method": spec["label"],
            "seed": spec["seed"],
        }
        try:
            rows.extend(_rows(key | {"budget": spec["budget"]}, events))
            runs.append(key | _run_row(run, description, events))
        except (KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise Damaged(f"{run.log} is damaged ({reason}); {REMEDY}") from error
    if not runs:
        raise FileNotFoundError(f"{folder} holds no runs; start some with: benchmark run")
    return Results(
        suite=folder.name,
        folder=folder,
        frame=pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS),
        runs=pd.DataFrame(runs, columns=list(RUN_COLUMNS)),
        tasks=tasks,
        methods=methods,
    )


def save_frame(results: Results) -> Path:
    """Write the tidy frame as `<suite folder>/frame.parquet`."""
    buffer = io.BytesIO()
    results.frame.to_parquet(buffer, index=False)
    path = results.folder / "frame.parquet"
    write_atomic(path, buffer.getvalue())
    return path


def _rows(key: dict[str, Any], events: list[Record]) -> Iterator[dict[str, Any]]:
    steps = effective_steps(events)
    finals = {record["trial"]: record for record in events if record["kind"] == "final"}
    for event, step in enumerate(steps):
        metrics = step["metrics"] or finals.get(step["trial"], {}).get("metrics") or {}
        row = key | {
            "event": event,
            "kind": step["kind"],
            "trial": step["trial"],
            "fidelity": step.get("fidelity"),
            "gpu_hours": step["clock"]["ledgers"]["method"] / 3600,
            **step["clock"]["work"],
            "incumbent": step["incumbent"],
        }
        values = {f"param:{name}": value for name, value in step["params"].items()}
        values |= {f"shown:{name}": value for name, value in step.get("shown", {}).items()}
        if step["score"] is not None:
            values["score"] = step["score"]
        for metric, value in (values | metrics).items():
            yield row | {"metric": metric, "value": value}


def _run_row(run: RunFolder, description: dict[str, Any], events: list[Record]) -> dict[str, Any]:
    spec = description["spec"]
    clocked = [record for record in events if "clock" in record]
    clock = clocked[-1]["clock"] if clocked else {"ledgers": {}, "breakdown": {}}
    ledgers = {
        f"{name}_s": clock["ledgers"].get(name, 0.0)
        for name in ("setup", "method", "evaluation", "checkpoint")
    }
    end = events[-1] if events and events[-1]["kind"] == "end" else {}
    samples, tile = _last_samples(run)
    status, reason = ending(run)
    return {
        "status": status,
        "reason": reason,
        "budget": spec["budget"],
        "gpu_hours": ledgers["method_s"] / 3600,
        **ledgers,
        "wall_s": sum(ledgers.values()),
        "breakdown": json.dumps(clock["breakdown"]),
        "device": description["provenance"]["device"],
        "clock": spec["clock"],
        "peak_memory_mb": end.get("peak_memory_mb"),
        "samples": samples,
        "tile": tile,
    }


def _last_samples(run: RunFolder) -> tuple[str | None, int | None]:
    """The newest sample grid and its tile size: grids are eight tiles wide."""
    grids = sorted(run.artifacts.glob("samples-*.png"))
    if not grids:
        return None, None
    from PIL import Image

    with Image.open(grids[-1]) as image:
        return str(grids[-1]), image.width // 8
