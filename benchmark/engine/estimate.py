"""Estimates of how long runs take, from finished runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.runs.folder import RunFolder, ending
from benchmark.runs.spec import RunSpec


def clock_time(seconds: float) -> str:
    """`[hours:]minutes:seconds`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Durations:
    """Seconds that runs take beside their budgets: setup, evaluations, checkpoints and, under the
    priced clock, an optimiser's own time, which nothing is charged for.

    Reports are spaced by shares of the budget, so the number of evaluations, and with it this
    time, hardly depends on the budget.
    """

    def __init__(self, known: Iterable[RunSpec] = ()) -> None:
        self._by_method: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._by_task: dict[str, list[float]] = defaultdict(list)
        for spec in known:
            self.add(spec)

    def add(self, spec: RunSpec) -> None:
        """Take note of a run; only finished ones count."""
        seconds = _beside_the_budget(spec.folder)
        if seconds is not None:
            self._by_method[spec.task, spec.label].append(seconds)
            self._by_task[spec.task].append(seconds)

    def beside(self, spec: RunSpec) -> float | None:
        """Mean of the runs of the same task and method or else of the same task, if any."""
        told = self._by_method.get((spec.task, spec.label)) or self._by_task.get(spec.task)
        return fmean(told) if told else None

    def knows(self, spec: RunSpec) -> bool:
        """Whether a run of the same task and method has finished."""
        return (spec.task, spec.label) in self._by_method

    @property
    def runs(self) -> int:
        """How many runs it is taken from."""
        return sum(map(len, self._by_task.values()))


@dataclass(frozen=True)
class Expected:
    """Time that pending runs take beside their budgets."""

    seconds: float
    """All of them on one device, those of unknown tasks aside."""
    runs: int
    """How many finished runs it is taken from."""
    unknown: tuple[str, ...]
    """Tasks of which no run has finished here."""
    untimed: tuple[str, ...]
    """Methods of which no run has finished here, under the priced clock."""

    def describe(self) -> str:
        """In one line."""
        parts = []
        if self.runs:
            time = clock_time(self.seconds)
            parts.append(f"about {time} with one worker, as {self.runs} finished runs here took")
        if self.unknown:
            parts.append(f"not known before a run of {', '.join(self.unknown)} has finished here")
        if self.untimed:
            parts.append(
                "the priced clock does not charge an optimiser's own time, which may be minutes: "
                f"not known before a run of {', '.join(self.untimed)} has finished here"
            )
        return f"setup, evaluations and checkpoints, which no budget pays: {'; '.join(parts)}"


def expected(pending: Sequence[RunSpec], known: Iterable[RunSpec]) -> Expected:
    """Time that `pending` will take beside their budgets, judged by finished runs of `known`."""
    durations = Durations(known)
    times = [(spec, durations.beside(spec)) for spec in pending]
    untimed = [s.label for s in pending if s.clock == "priced" and not durations.knows(s)]
    return Expected(
        seconds=sum(seconds for _, seconds in times if seconds is not None),
        runs=durations.runs,
        unknown=tuple(dict.fromkeys(spec.task for spec, seconds in times if seconds is None)),
        untimed=tuple(dict.fromkeys(untimed)),
    )


def _beside_the_budget(folder: RunFolder) -> float | None:
    """Seconds of a finished run that its budget did not pay for; None for any other run."""
    events = folder.events()
    if ending(folder, events)[0] != "finished":
        return None
    end = events[-1]
    ledgers: dict[str, float] = end["clock"]["ledgers"]
    unpaid = sum(ledgers.values()) - ledgers["method"]
    return max(unpaid, float(end.get("wall", 0.0)) - ledgers["method"])
