"""Progress of a whole suite while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
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
    """Progress of a suite while it runs; reads heartbeats, writes nothing. As a renderable of Rich
    it is read anew each time it is drawn."""

    specs: list[RunSpec]
    total: int
    workers: int
    finished: int = 0
    failed: list[Outcome] = field(default_factory=list)
    elsewhere: list[Outcome] = field(default_factory=list)
    """Runs that another process executes."""
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

    @property
    def done(self) -> int:
        return self.finished + len(self.failed)

    def problems(self, folder: Path) -> Iterator[str]:
        """Lines on runs that have not finished, each with the remedy."""
        if self.elsewhere:
            yield f"{len(self.elsewhere)} runs are being executed by another process"
        if self.failed:
            where = ["--suite", folder.name, "--results", str(folder.parent)]
            advice = shlex.join(["python", "-m", "benchmark", "status", *where])
            runs = "1 run" if len(self.failed) == 1 else f"{len(self.failed)} runs"
            yield f"{runs} failed; see: {advice}"

    def running(self) -> Iterator[tuple[RunSpec, dict[str, Any]]]:
        """Runs with a recent heartbeat, and that heartbeat."""
        for path, since in list(self._handed_out.items()):
            spec = self._left.get(path)  # another thread may record its end
            life = _heartbeat(spec) if spec else {}
            if spec and life and life["time"] > max(time.time() - STALE_SECONDS, since):
                yield spec, life

    def seconds_left(self) -> float:
        """Wall time that the pending runs take, judged by finished runs of their methods."""
        progress = {spec.folder.path: life["progress"] for spec, life in self.running()}
        left = [self._seconds(s, progress.get(path)) for path, s in list(self._left.items())]
        return max(sum(left) / self.workers, max(left, default=0.0))

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
        untimed = any(map(self._durations.is_untimed, list(self._left.values())))
        return f"{'at least' if untimed else 'about'} {clock_time(self.seconds_left())} left"

    def __rich__(self) -> RenderableType:
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=self.total, completed=self.done, width=30),
            f"{self.done}/{self.total} runs",
            f"[red]{len(self.failed)} failed[/]" if self.failed else "",
            self.time_left(),
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("task", "method", "seed", "budget used", "", "incumbent"):
            table.add_column(column)
        for spec, life in list(self.running())[:12]:
            share = life["progress"]
            table.add_row(
                Text(spec.task), Text(spec.label), str(spec.seed),
                ProgressBar(total=1.0, completed=share, width=20), f"{share:4.0%}",
                metric_text(life),
            )  # fmt: skip
        return Group(head, table)


def _heartbeat(spec: RunSpec) -> dict[str, Any]:
    """The last sign of life of a run; empty if there is none."""
    life: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        life = json.loads(spec.folder.heartbeat.read_text())
    return life


def metric_text(life: dict[str, Any]) -> str:
    """The primary metric: tasks list it first."""
    for name, value in (life.get("metrics") or {}).items():
        return f"{name} {value:.4g}"
    return "-"


def follow(console: Console, progress: Progress, outcomes: Iterable[Outcome]) -> None:
    """Consume `outcomes` while showing progress."""
    live = Live(progress, console=console, refresh_per_second=1, transient=True)
    with live if console.is_terminal else nullcontext():
        for outcome in outcomes:
            progress.record(outcome)
            spec, status = outcome.spec, outcome.status
            name = f"{spec.task} {spec.label} seed {spec.seed}"
            if not console.is_terminal:
                line = (
                    f"[{progress.done}/{progress.total}] {name}: {status}, "
                    f"{metric_text(_heartbeat(spec))}, {progress.time_left()}"
                )
                console.print(Text(line), soft_wrap=True)
            if status != "finished":
                where = f" (traceback in {spec.folder.error})" if status == "failed" else ""
                line = f"{status}: {name}: {outcome.reason}{where}"
                console.print(Text(line, style="red"), soft_wrap=True)
