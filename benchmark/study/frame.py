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
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.files import plain
from benchmark.runs.log import Record, effective_steps

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
TYPES = {"int64": "q", "float64": "d", "bool": "b"}
"""Codes of `array` by type of a column."""


class FrameBuilder:
    """The frame while it grows, column by column: what an event has once, and its metrics.

    Numbers are kept in typed arrays; anything else is a TypeError.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[str] | array[Any]] = {
            name: [] if kind == "str" else array(TYPES[kind]) for name, kind in COLUMNS.items()
        }
        self.counts = array("q")
        """Number of metrics of each event."""

    def add(self, key: dict[str, Any], records: list[Record]) -> None:
        """All steps of one run; `key` has the columns that are the same for all of them."""
        steps = effective_steps(records)
        clocks = [step["clock"] for step in steps]
        work = [clock["work"] for clock in clocks]
        events = {name: [value] * len(steps) for name, value in key.items()} | {
            "event": range(len(steps)),
            "kind": [step["kind"] for step in steps],
            "trial": [step["trial"] for step in steps],
            "fidelity": [_number_or_nan(step.get("fidelity")) for step in steps],
            "gpu_hours": [clock["ledgers"]["method"] / 3600 for clock in clocks],
            "nfe": [counts["nfe"] for counts in work],
            "train_images": [counts["train_images"] for counts in work],
            "scored_images": [counts["scored_images"] for counts in work],
            "incumbent": [step["incumbent"] for step in steps],
        }
        finals = {record["trial"]: record for record in records if record["kind"] == "final"}
        metrics = [_metrics(step, finals.get(step["trial"], {})) for step in steps]
        self.counts.extend(map(len, metrics))
        events["metric"] = [name for named in metrics for name in named]
        events["value"] = [value for named in metrics for value in named.values()]
        for name, values in events.items():
            self.columns[name].extend(values)

    def frame(self) -> pd.DataFrame:
        event = np.repeat(np.arange(len(self.counts)), self.counts)
        each = np.arange(len(event))
        columns = {
            name: _column(values, kind, each if name in ("metric", "value") else event)
            for (name, kind), values in zip(COLUMNS.items(), self.columns.values(), strict=True)
        }
        return pd.DataFrame(columns)


def _metrics(step: Record, final: Record) -> dict[str, float]:
    """The values of one step by name of the metric, those measured at the end included."""
    found = {_metric("param:", name): value for name, value in step["params"].items()}
    found |= {_metric("shown:", name): value for name, value in step.get("shown", {}).items()}
    if step["score"] is not None:
        found["score"] = step["score"]
    reported = (step["metrics"] or {}) | (final.get("metrics") or {})
    return found | {_metric("", name): value for name, value in reported.items()}


@lru_cache
def _metric(prefix: str, name: str) -> str:
    return str(plain(prefix + name))


def _number_or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _column(values: list[str] | array[Any], kind: str, places: npt.NDArray[np.int64]) -> Any:
    """`values` at `places`; of strings there are few different ones."""
    if not isinstance(values, list):
        return np.asarray(values)[places].astype(kind)
    codes, known = pd.factorize(np.asarray(values, dtype=object))
    return pd.Index(known, dtype="str").take(codes[places])
