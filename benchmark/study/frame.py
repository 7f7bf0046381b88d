"""The tidy frame of a study, built run by run from event logs.

One row per (event, metric):

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
(`setup_s, method_s, evaluation_s, checkpoint_s`), wall time `wall_s`, `breakdown` (JSON:
charged seconds by operation, and `overhead` for the method's own code), `device`, `clock`,
`peak_memory_mb`, `samples` (path of the incumbent's last sample grid: a PNG of 8 columns
of square tiles without padding, or None), `tile` (tile size in pixels).
"""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.files import plain
from benchmark.runs.folder import Record, effective_steps

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


class FrameBuilder:
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
        """Number of events of each run."""
        self.counts = array("q")
        """Number of metrics of each event."""
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
            final = finals.get(step["trial"], {}).get("metrics") or {}
            reported = (step["metrics"] or {}) | final
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
