"""Reads a suite's run folders into a `Study`."""

from __future__ import annotations

import io
import json
import math
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.files import REMEDY, BadResults, plain, read_bytes, write_atomic
from benchmark.runs.description import read_description
from benchmark.runs.design import read_design
from benchmark.runs.folder import (
    NoRuns,
    Record,
    RunFolder,
    effective_steps,
    ending,
    last_clock,
    planned,
    refuse_links,
    run_folders,
)
from benchmark.study.model import Study

SAMPLES = re.compile(r"samples-\d+\.png")
LARGEST_GRID = 2**26
"""Pixels."""


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


def descriptions(folder: Path) -> Iterator[tuple[RunFolder, dict[str, Any]]]:
    """Runs of a suite with their descriptions, without those that ended before they had any.

    Raises BadResults.
    """
    for run in run_folders(folder):
        description = read_description(run)
        if description is not None:
            yield run, description


def load(folder: Path) -> Study:
    """Read a suite's run folders.

    Raises as `Study.load` says.
    """
    rows = _Rows()
    runs: list[dict[str, Any]] = []
    stored: list[dict[str, Any]] = []
    tasks: dict[str, dict[str, Any]] = {}
    methods: dict[str, dict[str, Any]] = {}
    refuse_links(folder)
    root = len((folder / "runs").parts)
    for run, description in descriptions(folder):
        try:
            events = run.events()
            spec = _spec(run.path.parts[root:], description)
            if spec["task"] not in tasks:
                tasks[spec["task"]] = _described_task(description["task"])
            if spec["label"] not in methods:
                methods[spec["label"]] = _described_method(description["method"])
            key = {
                "suite": str(plain(spec["suite"])),
                "task": spec["task"],
                "method": spec["label"],
                "seed": spec["seed"],
            }
            rows.add(key | {"budget": float(spec["budget"])}, events)
            runs.append(key | _run_row(run, description, events))
            stored.append(description)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, BadResults):
                raise
            raise BadResults(
                f"{run.path} holds what no run writes ({type(error).__name__}: {error}); {REMEDY}"
            ) from None
    if not runs:
        raise NoRuns(folder)
    return Study(
        name=folder.name,
        folder=folder,
        frame=rows.frame(),
        runs=pd.DataFrame(runs, columns=list(RUN_COLUMNS)),
        task_facts=tasks,
        method_facts=methods,
        planned=planned(folder),
        design=read_design(folder),
        descriptions=stored,
    )


def _spec(place: Sequence[str], description: dict[str, Any]) -> dict[str, Any]:
    """The stored spec. Raises ValueError unless it is of the run whose folder it lies in."""
    spec: dict[str, Any] = description["spec"]
    *task, label, seed = place
    if (spec["task"], spec["label"], str(spec["seed"])) != ("/".join(task), label, seed):
        raise ValueError(
            f"run.json is of {spec['task']!r}, {spec['label']!r}, seed {spec['seed']!r}"
        )
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
    for metric in task["metrics"]:
        if not isinstance(metric["name"], str):
            raise TypeError(f"a metric is called {metric['name']!r}")
    if not task["metrics"]:
        raise ValueError("the task has no metrics")
    return task


def save_frame(study: Study) -> Path:
    """Write the tidy frame as `<suite folder>/frame.parquet`."""
    buffer = io.BytesIO()
    study.frame.to_parquet(buffer, index=False)
    path = study.folder / "frame.parquet"
    write_atomic(path, buffer.getvalue())
    return path


class _Rows:
    """The frame while it grows, column by column: what a run has once (`names`, `of_runs`), what
    an event has once (`kinds`, `of_events`), and one entry per metric (`metrics`, `values`).

    Numbers are kept in typed arrays; anything else is a TypeError.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {"suite": [], "task": [], "method": []}
        self.of_runs: dict[str, array[Any]] = {"seed": array("q"), "budget": array("d")}
        self.of_events: dict[str, array[Any]] = {
            name: array({"int64": "q", "float64": "d", "bool": "b"}[kind])
            for name, kind in COLUMNS.items()
            if kind != "str" and name not in self.of_runs and name != "value"
        }
        self.kinds: list[str] = []
        self.events = array("q")
        """How many events each run has."""
        self.counts = array("q")
        """How many metrics each event has."""
        self.metrics, self.values = array("q"), array("d")
        self.codes: dict[str, int] = {}
        self.params, self.shown, self.plain = (
            _Codes(prefix, self.codes) for prefix in ("param:", "shown:", "")
        )

    def add(self, key: dict[str, Any], records: list[Record]) -> None:
        """All steps of one run."""
        steps = effective_steps(records)
        for name in self.names:
            self.names[name].append(key[name])
        for name in self.of_runs:
            self.of_runs[name].append(key[name])
        self.events.append(len(steps))
        clocks = [step["clock"] for step in steps]
        work = [clock["work"] for clock in clocks]
        self.kinds += [step["kind"] for step in steps]
        for name, numbers in (
            ("event", list(range(len(steps)))),
            ("trial", [step["trial"] for step in steps]),
            ("fidelity", [_number_or_nan(step.get("fidelity")) for step in steps]),
            ("gpu_hours", [clock["ledgers"]["method"] / 3600 for clock in clocks]),
            ("nfe", [counts["nfe"] for counts in work]),
            ("train_images", [counts["train_images"] for counts in work]),
            ("scored_images", [counts["scored_images"] for counts in work]),
            ("incumbent", [step["incumbent"] for step in steps]),
        ):
            self.of_events[name].fromlist(numbers)
        finals = {record["trial"]: record for record in records if record["kind"] == "final"}
        metrics: list[int] = []
        values: list[float] = []
        for step in steps:
            before = len(values)
            reported = step["metrics"] or finals.get(step["trial"], {}).get("metrics") or {}
            for codes, named in (
                (self.params, step["params"]),
                (self.shown, step.get("shown", {})),
                (self.plain, {} if step["score"] is None else {"score": step["score"]}),
                (self.plain, reported),
            ):
                metrics += [codes[name] for name in named]
                values += named.values()
            self.counts.append(len(values) - before)
        self.metrics.fromlist(metrics)
        self.values.fromlist(values)

    def frame(self) -> pd.DataFrame:
        event = np.repeat(np.arange(len(self.counts)), self.counts)
        run = np.repeat(np.arange(len(self.events)), self.events)[event]
        columns: dict[str, Any] = {
            name: np.asarray(numbers)[event].astype(COLUMNS[name])
            for name, numbers in self.of_events.items()
        }
        columns |= {name: np.asarray(numbers)[run] for name, numbers in self.of_runs.items()}
        columns |= {name: _strings(values, run) for name, values in self.names.items()}
        columns["kind"] = _strings(self.kinds, event)
        known = pd.Index([plain(name) for name in self.codes], dtype="str")
        columns["metric"] = known.take(np.asarray(self.metrics))
        columns["value"] = np.asarray(self.values)
        return pd.DataFrame(columns, columns=list(COLUMNS))


class _Codes(dict[str, int]):
    """Numbers of the metrics with a prefix, by name without it; all prefixes count together."""

    def __init__(self, prefix: str, all_codes: dict[str, int]) -> None:
        self.prefix, self.all_codes = prefix, all_codes

    def __missing__(self, name: str) -> int:
        self[name] = self.all_codes.setdefault(self.prefix + name, len(self.all_codes))
        return self[name]


def _number_or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _strings(values: list[str], places: npt.NDArray[np.int64]) -> pd.Index:
    """`values` at `places`; there are few different ones."""
    codes, known = pd.factorize(np.asarray(values, dtype=object))
    taken: pd.Index = pd.Index(known, dtype="str").take(codes[places])
    return taken


def _run_row(run: RunFolder, description: dict[str, Any], events: list[Record]) -> dict[str, Any]:
    spec = description["spec"]
    clock = last_clock(events)
    if clock is None:
        clock = {"ledgers": {}, "breakdown": {}}
    ledgers = {
        f"{name}_s": float(clock["ledgers"].get(name, 0.0))
        for name in ("setup", "method", "evaluation", "checkpoint")
    }
    end = events[-1] if events and events[-1]["kind"] == "end" else {}
    samples, tile = _last_samples(run)
    status, reason = ending(run, events)
    return {
        "status": status,
        "reason": reason,
        "budget": float(spec["budget"]),
        "gpu_hours": ledgers["method_s"] / 3600,
        **ledgers,
        "wall_s": float(clock.get("wall", sum(ledgers.values()))),
        "breakdown": json.dumps(plain(clock["breakdown"])),
        "device": plain(description["provenance"]["device"]),
        "clock": plain(spec["clock"]),
        "peak_memory_mb": end.get("peak_memory_mb"),
        "samples": samples,
        "tile": tile,
    }


PNG = b"\x89PNG\r\n\x1a\n"


def _last_samples(run: RunFolder) -> tuple[str | None, int | None]:
    """The newest sample grid and its tile size: grids are eight tiles wide.

    Raises BadResults for a link, and for a picture of more pixels than a grid has: whoever draws
    it would unpack them all.
    """
    folder = str(run.artifacts)
    try:
        names = [name for name in os.listdir(folder) if SAMPLES.fullmatch(name)]
    except OSError:
        return None, None
    if not names:
        return None, None
    path = os.path.join(folder, max(names))
    if os.path.islink(folder):
        raise BadResults(f"{path} is a link: results are plain files and folders")
    head = read_bytes(path, first=24)
    width, height = (int.from_bytes(head[at : at + 4]) for at in (16, 20))
    if not head.startswith(PNG) or not 0 < width * height <= LARGEST_GRID:
        raise BadResults(f"{path} is not a grid of samples")
    return path, width // 8
