"""Packed results: all runs of a suite in one Parquet file.

One row per run:

=========== ==================== ==============================================================
task        string               e.g. `finetune/digits`
method      string               label in the suite
seed        int64                run seed
status      string               when it was packed: finished, failed or interrupted
reason      string               why it ended
description binary               `run.json`, byte for byte
events      binary               `events.jsonl`, byte for byte
error       binary or null       `error.txt` of a failed run
samples     list of (name, png)  sample grids that tables and figures show, by file name
=========== ==================== ==============================================================

The file's metadata hold `format` (`FORMAT`), `plan` and `design` (JSON, as in the suite's folder).
The frame is not packed: it follows from the logs, and a wrong one could not be recognised.
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.errors import UserError
from benchmark.files import LARGEST_PICTURE, BadResults, plain, write_atomic
from benchmark.runs.design import parse_design, parse_plan
from benchmark.runs.log import Record, effective_steps
from benchmark.study.stored import (
    LARGEST,
    NAME,
    PACKED,
    SAMPLES,
    NoRuns,
    StoredRun,
    StoredSuite,
    identity,
    without_links,
)

FORMAT = "diffusion-tuning-benchmark results 1"
SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("description", pa.binary(), nullable=False),
        pa.field("events", pa.binary(), nullable=False),
        pa.field("error", pa.binary()),
        pa.field("samples", pa.list_(pa.struct([("name", pa.string()), ("png", pa.binary())]))),
    ]
)
FILES = {"run.json": "description", "events.jsonl": "events", "error.txt": "error"}
"""Columns of a run's files."""
SHARES = (0.25, 0.5, math.inf)
"""Shares of the budget at which figures show samples, the last one at the end of a run."""
LEVEL = 12
"""Level of Zstandard; higher ones take ten times as long to save a tenth of the size."""
LARGEST_PACK = 2**31
"""Largest size in bytes of an unpacked pack."""


class PackError(UserError):
    """A suite that cannot be packed; the message says why."""


class PackedRun(StoredRun):
    """A row of a packed suite."""

    def __init__(self, pack: Path, row: dict[str, Any]) -> None:
        self.place = PurePosixPath(row["task"], row["method"], str(row["seed"]))
        self.where = pack / self.place
        if not all(NAME.fullmatch(part) for part in self.place.parts):
            raise BadResults(f"{str(self.where)!r} is not a run: no name of a task and a method")
        self.status, self.reason = str(plain(row["status"])), str(plain(row["reason"]))
        self.files = {
            name: row[column] for name, column in FILES.items() if row[column] is not None
        } | {f"artifacts/{grid['name']}": grid["png"] for grid in row["samples"] or ()}
        for name, content in self.files.items():
            picture = name not in FILES
            if picture and not SAMPLES.fullmatch(name.removeprefix("artifacts/")):
                raise BadResults(f"{str(self.where / name)!r} is no file of a run")
            if len(content) > LARGEST.get(name, LARGEST_PICTURE):
                raise BadResults(f"{self.where / name} is larger than any that is read")

    def names(self) -> list[str]:
        return list(self.files)

    def content(self, name: str, first: int | None = None) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(str(self.where / name))
        content: bytes = self.files[name]
        return content[:first]

    def ending(self, events: list[Record]) -> tuple[str, str]:
        return self.status, self.reason


class PackedSuite(StoredSuite):
    """A packed suite. Raises BadResults for another kind of file, or a damaged one."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.with_name(path.name.removesuffix(PACKED))
        list(without_links(self.folder))  # tables and figures will be written there
        if path.is_symlink():
            raise BadResults(f"{path} is a link: results are plain files")
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                found = file.schema_arrow.metadata or {}
                if found.get(b"format") != FORMAT.encode():
                    raise BadResults(f"{path} is not a packed suite; make one with: benchmark pack")
                groups = (file.metadata.row_group(k) for k in range(file.metadata.num_row_groups))
                if sum(group.total_byte_size for group in groups) > LARGEST_PACK:
                    raise BadResults(f"{path} unfolds to more than {LARGEST_PACK / 2**30:.0f} GiB")
                rows = file.read(columns=SCHEMA.names).cast(SCHEMA).to_pylist()
            self.runs = [PackedRun(path, row) for row in rows]
            self.planned = parse_plan(json.loads(found[b"plan"]))
            design = json.loads(found[b"design"])
            self.design = parse_design(design) if design else None
        except (FileNotFoundError, BadResults):
            raise
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BadResults(f"{path} is damaged or no packed suite ({reason})") from None

    def stamp(self) -> str:
        return identity(self.path)


def pack(suite: StoredSuite, path: Path) -> int:
    """Write all runs of a suite that have a description into one file, whole or not at all; returns
    how many there are.

    Raises NoRuns, BadResults for what cannot be read, and PackError rather than overwriting a file
    that is not a packed suite.
    """
    if path.exists():
        try:
            PackedSuite(path)
        except BadResults:
            raise PackError(
                f"{path} exists and is not a packed suite; choose another name"
            ) from None
    runs = [run for run in suite.runs if run.description() is not None]
    if not runs:
        raise NoRuns(suite.path)
    shown = _runs_shown(runs)
    rows = [_row(run, run.place in shown) for run in runs]
    metadata = {
        "format": FORMAT,
        "plan": json.dumps(suite.planned),
        "design": json.dumps(asdict(suite.design) if suite.design else None),
    }
    table = pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata(metadata)
    buffer = io.BytesIO()
    pq.write_table(
        table, buffer, compression="zstd", compression_level=LEVEL, use_dictionary=False,
        write_statistics=False, write_page_checksum=True,
    )  # fmt: skip  # statistics would repeat whole logs
    write_atomic(path, buffer.getvalue())
    return len(rows)


def _row(run: StoredRun, shown: bool) -> dict[str, Any]:
    task, label, seed = str(run.place.parent.parent), run.place.parent.name, run.place.name
    events, names = run.events(), run.names()
    status, reason = run.ending(events)
    return {
        "task": task,
        "method": label,
        "seed": int(seed),
        # A running one is, in this file, where it was interrupted.
        "status": "interrupted" if status == "running" else status,
        "reason": reason,
        "description": run.content("run.json"),
        "events": run.content("events.jsonl") if "events.jsonl" in names else b"",
        "error": run.content("error.txt") if "error.txt" in names else None,
        "samples": [
            {"name": name.removeprefix("artifacts/"), "png": run.content(name)}
            for name in (_grids_shown(run, events) if shown else ())
        ],
    }


def _runs_shown(runs: Sequence[StoredRun]) -> set[PurePosixPath]:
    """One run of each method and task, whose samples figures show: that of the seed of which most
    methods of the task have samples."""
    places = [run.place for run in runs if run.grids()]
    methods = Counter((place.parent.parent, place.name) for place in places)
    places.sort(key=lambda place: (-methods[place.parent.parent, place.name], int(place.name)))
    shown: dict[PurePosixPath, PurePosixPath] = {}
    for place in places:
        shown.setdefault(place.parent, place)
    return set(shown.values())


def _grids_shown(run: StoredRun, events: list[Record]) -> list[str]:
    """The newest sample grid, and those of what would have been delivered at `SHARES` of the
    budget."""
    grids = run.grids()
    budget = 3600 * (run.description() or {})["spec"]["budget"]
    taken = [
        (step["clock"]["ledgers"]["method"] / budget, name)
        for step in effective_steps(events)
        if step["incumbent"] and (name := f"artifacts/samples-{step['trial']:06d}.png") in grids
    ]
    shown = set(grids[-1:])
    for share in SHARES:
        shown |= set([name for used, name in taken if used <= share][-1:])
    return sorted(shown)
