"""What runs take beside their budgets, as far as finished runs tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.engine.live import clock_time
from benchmark.runs.folder import RunFolder, ending
from benchmark.runs.runner import RunSpec


@dataclass(frozen=True)
class Unpaid:
    """Setup, evaluations and checkpoints of runs to come."""

    seconds: float
    """Of all of them on one device, those of unknown tasks aside."""
    runs: int
    """How many finished runs it is taken from."""
    unknown: tuple[str, ...]
    """Tasks of which no run has finished here."""

    def describe(self) -> str:
        """In one line."""
        parts = []
        if self.runs:
            time = clock_time(self.seconds)
            parts.append(f"about {time} with one worker, as {self.runs} finished runs here took")
        if self.unknown:
            parts.append(f"not known before a run of {', '.join(self.unknown)} has finished here")
        return f"setup, evaluations and checkpoints, which no budget pays: {'; '.join(parts)}"


def unpaid(pending: Sequence[RunSpec], known: Iterable[RunSpec]) -> Unpaid:
    """What `pending` will take: the mean of those of `known` that have finished, of the same task
    and method or else of the same task. Reports are spaced by shares of the budget, so the number
    of evaluations, and with it this time, hardly depends on the budget."""
    by_method: dict[tuple[str, str], list[float]] = defaultdict(list)
    by_task: dict[str, list[float]] = defaultdict(list)
    for spec in known:
        seconds = _beside_the_budget(spec.folder)
        if seconds is not None:
            by_method[spec.task, spec.label].append(seconds)
            by_task[spec.task].append(seconds)
    told = [by_method.get((spec.task, spec.label)) or by_task.get(spec.task) for spec in pending]
    return Unpaid(
        seconds=sum(fmean(times) for times in told if times),
        runs=sum(map(len, by_task.values())),
        unknown=tuple(dict.fromkeys(spec.task for spec in pending if spec.task not in by_task)),
    )


def _beside_the_budget(folder: RunFolder) -> float | None:
    """Seconds of a finished run that were not charged; None for any other."""
    events = folder.events()
    if ending(folder, events)[0] != "finished":
        return None
    ledgers: dict[str, float] = events[-1]["clock"]["ledgers"]
    return sum(ledgers.values()) - ledgers["method"]
