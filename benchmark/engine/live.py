"""Progress of a whole suite while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmark.engine.estimate import Durations, clock_time

if TYPE_CHECKING:
    from benchmark.runs.spec import Outcome, RunSpec

STALE_SECONDS = 15.0
TELLING_PROGRESS = 0.1
"""Share of its budget after which a run's own pace tells how long it takes."""
OVERHEAD_GUESS = 1.6
"""Wall time per charged second before anything is measured: setup and evaluation come on top."""


@dataclass
class Progress:
    """Progress of a suite while it runs; reads heartbeats, writes nothing."""

    specs: list[RunSpec]
    total: int
    workers: int
    finished: int = 0
    failed: list[Outcome] = field(default_factory=list)
    elsewhere: list[Outcome] = field(default_factory=list)
    """Runs that another process executes."""
    _begun: float = field(default_factory=time.time)
    _durations: Durations = field(default_factory=Durations)
    _left: dict[Path, RunSpec] = field(default_factory=dict)
    _handed_out: dict[Path, float] = field(default_factory=dict)
    """Time in seconds since the epoch."""

    def __post_init__(self) -> None:
        self._left = {spec.folder.path: spec for spec in self.specs}

    def start(self, spec: RunSpec) -> None:
        """Note that a run was handed out: only the heartbeats of such runs are read."""
        self._handed_out[spec.folder.path] = time.time()

    def record(self, outcome: Outcome) -> None:
        self._handed_out.pop(outcome.spec.folder.path, None)
        self._left.pop(outcome.spec.folder.path, None)
        self._durations.add(outcome.spec)
        if outcome.status == "finished":
            self.finished += 1
        elif outcome.status == "busy":
            self.elsewhere.append(outcome)
        else:
            self.failed.append(outcome)

    def problems(self, folder: Path) -> Iterator[str]:
        """Lines on runs that have not finished, each with the remedy."""
        if self.elsewhere:
            yield f"{len(self.elsewhere)} runs are being executed by another process"
        if self.failed:
            where = ["--suite", folder.name, "--results", str(folder.parent)]
            advice = shlex.join(["python", "-m", "benchmark", "status", *where])
            yield f"{len(self.failed)} runs failed; see: {advice}"

    def running(self) -> list[tuple[RunSpec, dict[str, Any]]]:
        """Runs with a recent heartbeat, and that heartbeat."""
        alive = []
        for path in list(self._handed_out):
            spec = self._left.get(path)  # another thread may record its end
            life = spec and _heartbeat(spec.folder.heartbeat)
            if spec and life and life["time"] > max(time.time() - STALE_SECONDS, self._begun):
                alive.append((spec, life))
        return alive

    def seconds_left(self) -> float:
        """Wall time that the pending runs take, judged by finished runs of their methods."""
        progress = {spec.folder.path: life["progress"] for spec, life in self.running()}
        left = [self._seconds(spec, progress.get(spec.folder.path)) for spec in self._to_come()]
        return max(sum(left) / self.workers, max(left, default=0.0))

    def _to_come(self) -> list[RunSpec]:
        return list(self._left.values())

    def _seconds(self, spec: RunSpec, progress: float | None) -> float:
        """Wall time that one run still takes."""
        budget = spec.budget * 3600
        beside = self._durations.beside(spec)
        whole = budget * OVERHEAD_GUESS if beside is None else budget + beside
        if progress is None:
            return whole
        passed = time.time() - self._handed_out.get(spec.folder.path, time.time())
        left = whole - passed
        if progress > TELLING_PROGRESS:  # its own pace, which knows the optimiser's time
            left = passed * (1 - progress) / progress
        return max(left, budget * (1 - progress))

    def time_left(self) -> str:
        """`seconds_left` in words; a bound where methods have not been timed yet."""
        untimed = any(
            spec.clock == "priced" and not self._durations.knows(spec) for spec in self._to_come()
        )
        return f"{'at least' if untimed else 'about'} {clock_time(self.seconds_left())} left"


def _heartbeat(path: Path) -> dict[str, Any] | None:
    try:
        life: dict[str, Any] = json.loads(path.read_text())
        return life
    except (OSError, ValueError):
        return None


def metric_text(life: dict[str, Any]) -> str:
    """The primary metric: tasks list it first."""
    for name, value in (life.get("metrics") or {}).items():
        return f"{name} {value:.4g}"
    return "-"


class _View:
    """A renderable that reads the progress anew each time it is drawn."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __rich__(self) -> RenderableType:
        progress = self.progress
        done = progress.finished + len(progress.failed)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=progress.total, completed=done, width=30),
            f"{done}/{progress.total} runs",
            f"[red]{len(progress.failed)} failed[/]" if progress.failed else "",
            progress.time_left(),
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("task", "method", "seed", "budget used", "", "incumbent"):
            table.add_column(column)
        for spec, life in progress.running()[:12]:
            share = life["progress"]
            table.add_row(
                Text(spec.task), Text(spec.label), str(spec.seed),
                ProgressBar(total=1.0, completed=share, width=20), f"{share:4.0%}",
                metric_text(life),
            )  # fmt: skip
        return Group(head, table)


def follow(console: Console, progress: Progress, outcomes: Iterable[Outcome]) -> None:
    """Consume `outcomes` while showing progress."""
    if console.is_terminal:
        with Live(_View(progress), console=console, refresh_per_second=1, transient=True):
            for outcome in outcomes:
                progress.record(outcome)
                _print_failure(console, outcome)
        return
    for outcome in outcomes:
        progress.record(outcome)
        spec = outcome.spec
        life = _heartbeat(spec.folder.heartbeat) or {}
        done = progress.finished + len(progress.failed)
        console.print(
            f"[{done}/{progress.total}] {spec.task} {spec.label} seed {spec.seed}: "
            f"{outcome.status}, {metric_text(life)}, {progress.time_left()}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        _print_failure(console, outcome)


def _print_failure(console: Console, outcome: Outcome) -> None:
    spec = outcome.spec
    if outcome.status != "finished":
        where = f" (traceback in {spec.folder.error})" if outcome.status == "failed" else ""
        console.print(
            f"{outcome.status}: {spec.task} {spec.label} seed {spec.seed}: {outcome.reason}{where}",
            style="red", markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
