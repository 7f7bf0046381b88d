"""A suite's results as one object: typed tasks and methods, the frame, and traces of its runs.

All tables and figures are functions of it, on any machine, without the tasks or a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
import pandas as pd

from benchmark.files import LARGEST_PICTURE, read_bytes
from benchmark.runs.design import Contrast, Design
from benchmark.study import traces
from benchmark.study.traces import Trace, Traces
from tasks.base import Metric as Metric
from tasks.base import stored_landscape
from tasks.space import Variable as Variable

T = TypeVar("T")
SECONDS_PER_HOUR = 3600.0
LAST_PLACE = 1000
"""Place of methods whose group has no place of its own."""


@dataclass(frozen=True)
class Unit:
    """How device time is shown: `hours * per_hour` of `name` (s, min or h)."""

    name: str
    per_hour: float
    device: str

    @property
    def label(self) -> str:
        """Label of an axis, such as `device time (s)`."""
        return f"{self.device} time ({self.name})"


@dataclass(frozen=True)
class Method:
    """A method as the suite calls it."""

    label: str
    name: str
    """Registered name: several labels may be variants of one method."""
    description: str = ""
    citation: str = ""
    uses: str = "not stated"
    """Information that it uses beyond the space."""
    ranked: bool = True
    """Whether it competes: no oracle, no hindsight, the same lower level."""
    group: str = ""
    """Kind of method; methods of a group stand together and share a colour."""
    colour: str | None = None
    """`#rrggbb`, or None where display is to choose one."""
    place: int = LAST_PLACE
    """Position of its group among all groups."""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Task:
    """One task of a study with its runs."""

    study: Study = field(repr=False)
    name: str
    facts: Mapping[str, Any] = field(repr=False)
    """`task` of the runs' `run.json`."""

    @property
    def family(self) -> str:
        return str(self.facts.get("family", ""))

    @property
    def description(self) -> str:
        return str(self.facts.get("description", ""))

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The reported metrics, the primary one first."""
        return tuple(_typed(Metric, {"label": m["name"]} | m) for m in self.facts["metrics"])

    @property
    def primary(self) -> Metric:
        return self.metrics[0]

    @property
    def confirmation(self) -> Metric | None:
        """The metric that measures the same as the primary one in other features, if there is one;
        earlier versions did not say which: they called it like the primary one with a 2 behind."""
        wanted = f"{self.primary.name}2"
        confirming = (m for m in self.metrics if m.confirms or m.name == wanted)
        return next(confirming, None)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        return tuple(_typed(Variable, entry) for entry in self.facts["variables"])

    @property
    def references(self) -> tuple[float, float] | None:
        """Stored `default` and `tuned` values of the primary metric; None if there are none, or if
        tuning gained nothing."""
        stored = self.facts.get("references") or {}
        name = self.primary.name
        default, tuned = (stored.get(key, {}).get(name) for key in ("default", "tuned"))
        return None if default is None or tuned in (None, default) else (default, tuned)

    @property
    def evaluator(self) -> str:
        """The evaluator's identity in words: sample sizes, feature networks and their hashes."""
        parts: list[tuple[str, object]] = []
        for name, value in (self.facts.get("evaluator") or {}).items():
            parts += value.items() if isinstance(value, dict) else [(name, value)]
        return ", ".join(f"{name} {value}" for name, value in parts) or "not stated"

    @cached_property
    def landscape(self) -> dict[str, Any] | None:
        """The installed landscape of the task, if it is by the evaluator of the runs.

        The number of samples may differ: more of them only make a smoother curve.
        """
        stored: dict[str, Any] | None = (
            self.facts["landscape"] if "landscape" in self.facts else stored_landscape(self.name)
        )
        if stored is None:
            return None
        identity = self.facts.get("evaluator") or {}
        same = all(
            stored["evaluator"].get(name) == value
            for name, value in identity.items()
            if name != "samples"
        )
        known = all(self.primary.name in point for point in stored["points"])
        return stored if same and known else None

    @cached_property
    def budget(self) -> float:
        """The largest budget of the task's runs in GPU-hours; NaN when there are none."""
        return float(self.runs()["budget"].max())

    @cached_property
    def unit(self) -> Unit:
        """Seconds for budgets under two minutes, minutes under two hours, else hours."""
        on_gpu = self.runs()["device"].astype(str).str.startswith("cuda").any()
        device = "GPU" if on_gpu else "device"
        seconds = self.budget * SECONDS_PER_HOUR
        if np.isnan(seconds) or seconds >= 2 * SECONDS_PER_HOUR:
            return Unit("h", 1.0, device)
        if seconds < 120:
            return Unit("s", SECONDS_PER_HOUR, device)
        return Unit("min", 60.0, device)

    @cached_property
    def methods(self) -> dict[str, Method]:
        """Methods with a run on the task or planned for it, by label."""
        here = {*self.runs()["method"], *(label for task, label in self.study.planned
                                          if task == self.name)}  # fmt: skip
        return {label: method for label, method in self.study.methods.items() if label in here}

    def runs(self, label: str | None = None) -> pd.DataFrame:
        """Rows of `Study.runs`, failed ones included; of one method, or of all."""
        return self._runs.get(label, self.study.runs.iloc[:0])

    @cached_property
    def _runs(self) -> dict[str | None, pd.DataFrame]:
        own = self.study.runs[self.study.runs["task"] == self.name]
        return {None: own} | {str(label): rows for label, rows in own.groupby("method", sort=False)}

    def events(self, label: str, seed: int) -> pd.DataFrame:
        """Rows of `Study.frame` of one run."""
        places = self.study.places.get((self.name, label, seed), [])
        rows: pd.DataFrame = self.study.frame.iloc[places]
        return rows

    def trace(self, label: str, metric: str) -> list[Trace]:
        """Metric of what each run of a method would have delivered at any moment, by seed; without
        runs that failed or delivered nothing. `metric` is a reported one, `param:NAME` or
        `shown:NAME`."""
        return self.study.traces.get((self.name, label, metric), [])


@dataclass(frozen=True, eq=False)
class Study:
    """One suite's results; compared by identity, so that what follows from them can be cached.

    `frame` has one row per event and metric, `runs` one per run; see `benchmark.study.frame`.
    """

    name: str
    folder: Path
    frame: pd.DataFrame = field(repr=False)
    runs: pd.DataFrame = field(repr=False)
    task_facts: Mapping[str, Mapping[str, Any]] = field(repr=False)
    """`task` of `run.json` by name."""
    method_facts: Mapping[str, Mapping[str, Any]] = field(repr=False)
    """`method` of `run.json` by label."""
    planned: tuple[tuple[str, str], ...] = ()
    """Pairs of task and label that were asked for, begun or not, in the suite's order."""
    design: Design = field(default_factory=Design)
    """The comparisons that the suite plans."""
    descriptions: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """`run.json` of every run."""
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Sample grids of packed runs, by path."""
    stamp: str = field(default="", repr=False)
    """Hash of the logs that `frame` is built from, if all runs have ended: `results.save_frame`."""

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a suite's results.

        Raises NoRuns when there is no run in `path`, and BadResults, naming the place, for what no
        run writes. Nothing that is stored is ever executed.
        """
        from benchmark.study.results import load

        return cast("Self", load(Path(path), cls))

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Tasks by name, in the suite's order."""
        planned = list(dict.fromkeys(task for task, _ in self.planned))
        names = [name for name in planned if name in self.task_facts]
        ordered = dict.fromkeys([*names, *self.task_facts])
        return {name: Task(self, name, self.task_facts[name]) for name in ordered}

    @cached_property
    def methods(self) -> dict[str, Method]:
        """Methods by label, whether they have runs or not: by group, then in the suite's order."""
        planned = [label for _, label in self.planned]
        order = {label: place for place, label in enumerate(dict.fromkeys(planned))}
        known = [
            _typed(Method, {"name": label} | dict(facts) | {"label": label})
            for label, facts in self.method_facts.items()
        ]
        known.sort(key=lambda m: (m.place, order.get(m.label, len(order)), m.label))
        return {method.label: method for method in known}

    def task(self, name: str) -> Task:
        return self.tasks[name]

    def method(self, label: str) -> Method:
        return self.methods[label]

    @property
    def ranked(self) -> list[str]:
        """Labels of the methods that compete."""
        return [label for label, method in self.methods.items() if method.ranked]

    @property
    def focus(self) -> str | None:
        """Label of the method that the suite is about, if it says so and has it."""
        return self.design.focus if self.design.focus in self.method_facts else None

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        return self.design.contrasts

    @cached_property
    def traces(self) -> Traces:
        """Traces of all runs that have not failed and have delivered something."""
        return traces.traces(self.frame, self.runs)

    @cached_property
    def places(self) -> dict[Any, Any]:
        """Positions of each run's rows in `frame`, by task, label and seed."""
        return self.frame.groupby(["task", "method", "seed"], sort=False).indices

    def has_picture(self, path: Path) -> bool:
        return str(path) in self.pictures if self.pictures else path.is_file()

    def picture(self, path: Path) -> bytes:
        """A sample grid (PNG): one of `runs["samples"]`, or another one beside it. Raises
        FileNotFoundError, and BadResults for a link or a file of impossible size."""
        if not self.pictures:
            return read_bytes(path, LARGEST_PICTURE)
        if not self.has_picture(path):
            raise FileNotFoundError(str(path))
        return self.pictures[str(path)]


def _typed(kind: type[T], stored: Mapping[str, Any]) -> T:
    """The dataclass with what is stored of its fields, which differs between versions."""
    known = {name: stored[name] for name in kind.__annotations__ if stored.get(name) is not None}
    return kind(**known)
