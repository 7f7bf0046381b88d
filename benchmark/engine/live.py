"""Progress of a whole suite while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from benchmark.runs.runner import Outcome, RunSpec

STALE_SECONDS = 15.0
OVERHEAD_GUESS = 1.6
"""Wall time per charged second before anything is measured: setup and evaluation come on top."""


@dataclass
class Progress:
    """What is known about a suite in flight; reads heartbeats, writes nothing."""

    specs: list[RunSpec]
    total: int
    workers: int
    finished: int = 0
    failed: list[Outcome] = field(default_factory=list)
    elsewhere: list[Outcome] = field(default_factory=list)
    """In the hands of another process."""
    best: dict[str, tuple[float, str]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    _done_seconds: float = 0.0
    _handed_out: dict[Path, RunSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._begun = time.time()
        self._all_seconds = sum(spec.budget * 3600 for spec in self.specs)

    def start(self, spec: RunSpec) -> None:
        """Take note that a run has been handed out: only these are looked at for life."""
        self._handed_out[spec.folder.path] = spec

    def record(self, outcome: Outcome) -> None:
        self._handed_out.pop(outcome.spec.folder.path, None)
        self._done_seconds += outcome.spec.budget * 3600
        if outcome.status == "finished":
            self.finished += 1
        elif outcome.status == "busy":
            self.elsewhere.append(outcome)
        else:
            self.failed.append(outcome)

    def running(self) -> list[tuple[RunSpec, dict[str, Any]]]:
        """Runs that have shown life recently, with their last heartbeat."""
        alive = []
        for spec in list(self._handed_out.values()):
            life = _heartbeat(spec.folder.heartbeat)
            if life and life["time"] > max(time.time() - STALE_SECONDS, self._begun):
                alive.append((spec, life))
        return alive

    def seconds_left(self) -> float:
        """Estimate from the charged seconds still to spend and the pace so far."""
        running = self.running()
        left: float = self._all_seconds - self._done_seconds
        left -= sum(life["progress"] * spec.budget * 3600 for spec, life in running)
        elapsed = time.monotonic() - self.started
        pace = self._done_seconds / elapsed if self._done_seconds else self.workers / OVERHEAD_GUESS
        return left / pace


def _heartbeat(path: Path) -> dict[str, Any] | None:
    try:
        life: dict[str, Any] = json.loads(path.read_text())
        return life
    except (OSError, ValueError):
        return None


def clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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
            f"about {clock_time(progress.seconds_left())} left",
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("task", "method", "seed", "budget used", "", "incumbent"):
            table.add_column(column)
        for spec, life in progress.running()[:12]:
            share = life["progress"]
            table.add_row(
                spec.task, Text(spec.label), str(spec.seed),
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
            f"{outcome.status}, {metric_text(life)}, "
            f"about {clock_time(progress.seconds_left())} left",
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
