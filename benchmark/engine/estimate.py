"""Estimates of how long runs take, from finished runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
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
        self.runs = 0
        """How many finished runs it is taken from."""
        self._seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
        """By task and method, and by task."""
        for spec in known:
            self.add(spec)

    def add(self, spec: RunSpec) -> None:
        """Take note of a run; only finished ones count."""
        seconds = _beside_the_budget(spec.folder)
        if seconds is not None:
            self.runs += 1
            self._seconds[spec.task, spec.label].append(seconds)
            self._seconds[spec.task,].append(seconds)

    def beside(self, spec: RunSpec) -> float | None:
        """Mean of the runs of the same task and method or else of the same task, if any."""
        told = self._seconds.get((spec.task, spec.label)) or self._seconds.get((spec.task,))
        return fmean(told) if told else None

    def is_untimed(self, spec: RunSpec) -> bool:
        """Whether an optimiser's own time, which the priced clock does not charge, is unknown: no
        run of the same task and method has finished."""
        return spec.clock == "priced" and (spec.task, spec.label) not in self._seconds


def beside_budgets(pending: Sequence[RunSpec], known: Iterable[RunSpec]) -> str:
    """Time that `pending` will take beside their budgets, judged by finished runs of `known`, in
    one line."""
    durations = Durations(known)
    times = [(spec, durations.beside(spec)) for spec in pending]
    unknown = dict.fromkeys(spec.task for spec, seconds in times if seconds is None)
    untimed = dict.fromkeys(spec.label for spec in pending if durations.is_untimed(spec))
    parts = []
    if durations.runs:
        total = clock_time(sum(seconds for _, seconds in times if seconds is not None))
        parts.append(f"about {total} with one worker, as {durations.runs} finished runs here took")
    if unknown:
        parts.append(f"not known before a run of {', '.join(unknown)} has finished here")
    if untimed:
        parts.append(
            "the priced clock does not charge an optimiser's own time, which may be minutes: "
            f"not known before a run of {', '.join(untimed)} has finished here"
        )
    return f"setup, evaluations and checkpoints, which no budget pays: {'; '.join(parts)}"


def _beside_the_budget(folder: RunFolder) -> float | None:
    """Seconds of a finished run that its budget did not pay for; None for any other run."""
    events = folder.events()
    if ending(folder, events)[0] != "finished":
        return None
    clock = events[-1]["clock"]
    ledgers: dict[str, float] = clock["ledgers"]
    return max(sum(ledgers.values()), float(clock.get("wall", 0.0))) - ledgers["method"]
