"""Loads a `Study` from stored runs, and stores its frame for the next time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.files import REMEDY, BadResults, plain, write_atomic
from benchmark.runs.clock import LEDGERS
from benchmark.runs.design import Design
from benchmark.runs.log import Record, last_clock, last_session
from benchmark.study.frame import COLUMNS, RUN_COLUMNS, FrameBuilder
from benchmark.study.model import Study
from benchmark.study.pack import PackedSuite
from benchmark.study.stored import FRAME, NoRuns, StoredRun, open_suite

LARGEST_GRID = 2**26
"""Pixels of the largest sample grid that is drawn."""
PNG = b"\x89PNG\r\n\x1a\n"
Rows = list[dict[str, Any]]


def load(path: Path, kind: type[Study] = Study) -> Study:
    """Read a suite's runs as a study of this kind. Raises as `Study.load` says.

    The stored frame is used if it was made from these logs as they are now: one that was copied, or
    came with the results, is built again.
    """
    suite = open_suite(path)
    stamp = suite.stamp()
    known = _stored_frame(suite.folder / FRAME, stamp)
    builder, rows = FrameBuilder(), known[1] if known else []
    described: Rows = []
    tasks: dict[str, dict[str, Any]] = {}
    methods: dict[str, dict[str, Any]] = {}
    pictures: dict[str, bytes] = {}
    places: dict[tuple[str, str, int], Path] = {}
    settled = True
    for run in suite.runs:
        description = run.description()
        if description is None:  # it ended before it had any
            continue
        with _as_runs_write(run):
            spec = _spec(run, description)
            key = {"task": spec["task"], "method": spec["label"], "seed": spec["seed"]}
            if spec["task"] not in tasks:
                tasks[spec["task"]] = _described_task(description["task"])
            if spec["label"] not in methods:
                methods[spec["label"]] = _described_method(description["method"])
            if known is None:
                events = run.events()
                key |= {"suite": str(plain(spec["suite"])), "budget": float(spec["budget"])}
                builder.add(key, events)
                rows.append(key | _run_row(run, description, events))
                settled &= last_session(events).get("kind") == "end"  # else it may still change
        described.append(description)
        places[spec["task"], spec["label"], spec["seed"]] = run.where
        if isinstance(suite, PackedSuite):
            pictures |= {str(run.where / name): run.content(name) for name in run.grids()}
    if not described:
        raise NoRuns(suite.folder)
    for row in rows:
        if row["samples"]:  # the folder may be called another way than when the row was stored
            where = places[row["task"], row["method"], row["seed"]]
            row["samples"] = str(where / "artifacts" / Path(row["samples"]).name)
    return kind(
        name=suite.folder.name,
        folder=suite.folder,
        frame=known[0] if known else builder.frame(),
        runs=pd.DataFrame(rows, columns=list(RUN_COLUMNS)),
        task_facts=tasks,
        method_facts=methods,
        planned=suite.planned,
        design=suite.design or Design(),
        descriptions=described,
        pictures=pictures,
        stamp=stamp if settled else "",
    )


@contextmanager
def _as_runs_write(run: StoredRun) -> Iterator[None]:
    """Raise BadResults, naming the run, where stored values are not what a run writes."""
    try:
        yield
    except BadResults:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadResults(
            f"{run.where} holds what no run writes ({type(error).__name__}: {error}); {REMEDY}"
        ) from None


def save_frame(study: Study) -> Path:
    """Write the tidy frame as `frame.parquet` of the suite's folder, if it has changed."""
    path = study.folder / FRAME
    if study.stamp and _stamp(path) == study.stamp:
        return path
    table = pa.Table.from_pandas(study.frame, preserve_index=False)
    runs = study.runs.astype(object)
    rows = json.dumps(runs.where(runs.notna(), None).to_dict("records"))
    metadata = {**(table.schema.metadata or {}), "stamp": study.stamp, "runs": rows}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())
    return path


def _stamp(path: Path) -> str:
    try:
        metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
        return metadata.get(b"stamp", b"").decode()
    except (OSError, ValueError, pa.ArrowException):
        return ""


def _stored_frame(path: Path, stamp: str) -> tuple[pd.DataFrame, Rows] | None:
    """The frame and the rows of `Study.runs`, if they were made from logs with this stamp."""
    if not stamp or path.is_symlink() or _stamp(path) != stamp:
        return None
    try:
        table = pq.read_table(path)
        frame = table.to_pandas()
        rows: Rows = json.loads(table.schema.metadata[b"runs"])
    except (OSError, ValueError, LookupError, pa.ArrowException):
        return None
    return (frame, rows) if list(frame.columns) == list(COLUMNS) else None


def _spec(run: StoredRun, description: dict[str, Any]) -> dict[str, Any]:
    """The stored spec. Raises ValueError unless it is of the run at whose place it lies."""
    spec: dict[str, Any] = description["spec"]
    *task, label, seed = run.place.parts
    named = spec["task"], spec["label"], str(spec["seed"])
    if not task or named != ("/".join(task), label, seed):
        raise ValueError(f"run.json is of {named}")
    if not isinstance(spec["seed"], int):
        raise TypeError(f"the seed is {spec['seed']!r}")
    return spec


def _described_method(stored: dict[str, Any]) -> dict[str, Any]:
    """`method` of `run.json`; what older versions did not say is taken from the installed method
    of that name, if there is one (which imports all methods, and torch with them)."""
    described: dict[str, Any] = plain(stored)
    if "rival" in described:
        described["ranked"] = described.pop("rival")
    if {"ranked", "group"} <= described.keys():
        return described
    from benchmark import registry
    from benchmark.runs.provenance import describe_method

    known = registry.all_methods().get(described["name"])
    return (describe_method(known) if known else {}) | described


def _described_task(stored: dict[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = plain(stored)
    names = [metric["name"] for metric in task["metrics"]]
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"the metrics are called {names}")
    if not isinstance(task.get("evaluator") or {}, dict):
        raise TypeError(f"the evaluator is {task['evaluator']!r}")
    return task


def _run_row(run: StoredRun, description: dict[str, Any], events: list[Record]) -> dict[str, Any]:
    """The columns of `Study.runs` that do not say which run it is."""
    clock = last_clock(events) or {"ledgers": {}, "breakdown": {}}
    ledgers = {f"{name}_s": float(clock["ledgers"].get(name, 0.0)) for name in LEDGERS}
    end = events[-1] if events and events[-1]["kind"] == "end" else {}
    samples, tile = _last_samples(run)
    status, reason = run.ending(events)
    return {
        "status": status,
        "reason": reason,
        "gpu_hours": ledgers["method_s"] / 3600,
        **ledgers,
        "wall_s": float(clock.get("wall", sum(ledgers.values()))),
        "breakdown": json.dumps(plain(clock["breakdown"])),
        "device": plain(description["provenance"]["device"]),
        "clock": plain(description["spec"]["clock"]),
        "peak_memory_mb": end.get("peak_memory_mb"),
        "samples": samples,
        "tile": tile,
    }


def _last_samples(run: StoredRun) -> tuple[str | None, int | None]:
    """Name of the newest sample grid, and its tile size: grids are eight tiles wide.

    Raises BadResults for a picture of more pixels than a grid has: whoever draws it would unpack
    them all.
    """
    grids = run.grids()
    if not grids:
        return None, None
    head = run.content(grids[-1], first=24)
    width, height = (int.from_bytes(head[at : at + 4]) for at in (16, 20))
    if not head.startswith(PNG) or not 0 < width * height <= LARGEST_GRID:
        raise BadResults(f"{run.where / grids[-1]} is not a grid of samples")
    return grids[-1], width // 8
