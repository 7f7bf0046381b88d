"""The problem that a method is handed: a task under a budget, with every step recorded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmark.runs.clock import BudgetExhausted, Clock
from benchmark.runs.journal import Journal
from benchmark.runs.judge import Judge
from benchmark.runs.log import Record
from benchmark.runs.recorder import Recorder
from benchmark.runs.seeds import TRAINING, Seeds
from benchmark.runs.spec import ending_run
from tasks.base import Candidate, Task
from tasks.oracles import exposed
from tasks.space import Params, Space

DEVELOP_STOPS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of a whole-budget solve at which it reports."""
DEVELOP_END = 0.985
"""Share of the budget a whole-budget solve plans for, so that its last report comes in time."""


class RecordedProblem:
    """The `methods.base.Problem` of one run; a method sees it through `tasks.oracles.view`."""

    def __init__(
        self, task: Task, judge: Judge, clock: Clock, journal: Journal, seeds: Seeds, label: str
    ) -> None:
        self.space: Space = task.space
        self.oracles = exposed(task)
        self.rng = np.random.default_rng(seeds.of(label))
        self.recorder = Recorder(clock, journal, judge, self.rng)
        self._task, self._judge, self._clock, self._seeds = task, judge, clock, seeds
        self._trials = journal.folder.trials

    @property
    def progress(self) -> float:
        return self._clock.progress

    @property
    def incumbent(self) -> Params | None:
        return self.recorder.incumbent

    @property
    def restored(self) -> dict[str, Any] | None:
        return self.recorder.restore("method")

    def checkpoint(self, state: dict[str, Any]) -> None:
        self.recorder.offer("method", state)

    def seed(self, *axes: str | int) -> int:
        return self._seeds.for_method(*axes)

    def score(self, candidate: Candidate) -> float:
        return float(self._task.score(candidate, self._seeds.of("score")))

    def evaluate(self, params: Params, fidelity: float = 1.0, deliver: bool = True) -> float:
        return next(self._trial(params, (fidelity,), deliver))

    def stages(self, params: Params, fidelities: Sequence[float]) -> Iterator[float]:
        return self._trial(params, fidelities, deliver=True)

    def _trial(self, params: Params, fidelities: Sequence[float], deliver: bool) -> Iterator[float]:
        params = self.space.validate(params)
        stops = _increasing(fidelities)
        seed = self._seeds.trial(self.recorder.trials)
        trial = self._next_trial()
        candidates: Iterator[Candidate] | None = None
        for number, fidelity in enumerate(stops):
            recorded = self.recorder.replay("trial", params, fidelity)
            if recorded is not None:
                yield _score_of(recorded)
                continue
            step = {"kind": "trial", "trial": trial, "params": params, "fidelity": fidelity}
            try:
                with ending_run():
                    if candidates is None:
                        self._task.folder = self._trials / f"{trial:06d}"
                        candidates = self._task.iterate(params, stops, seed)
                        with self._clock.enter("setup"):  # paid for before the interruption
                            for _ in range(number):
                                next(candidates)
                    with self._clock.charge("trial"):
                        pass
                    candidate = next(candidates)
                    score = self.score(candidate)
            except BudgetExhausted:
                self.recorder.unfinished(step)
                raise
            yield _score_of(self.recorder.trial(step, candidate, score, deliver))

    def develop(self, params: Params) -> None:
        params = self.space.validate(params)
        restored = self.recorder.restore("develop") or {}  # without, the solve starts over
        start = float(restored.get("start", self._clock.used))

        def progress() -> float:
            left = self._clock.budget * DEVELOP_END - start
            return min((self._clock.used - start) / left, 1.0) if left > 0 else 1.0

        self._clock.require_budget()
        seed = self.seed(TRAINING)
        self._task.folder = self._trials / "develop"
        candidates = self._task.iterate(
            params, DEVELOP_STOPS, seed, progress, restored.get("resume")
        )
        while True:
            with ending_run():
                candidate = next(candidates, None)
            if candidate is None:
                return
            self.report(candidate)
            if candidate.resume is not None:
                self.recorder.offer("develop", {"start": start, "resume": candidate.resume})

    def report(self, candidate: Candidate, score: float | None = None) -> None:
        self._judge.check(candidate)
        params = self.space.validate(candidate.params)
        trial = self._next_trial()
        if self.recorder.replay("report", params, None, candidate) is None:
            self._clock.require_budget()
            step: Record = {"kind": "report", "trial": trial, "params": params}
            self.recorder.report(step, candidate, score)

    def _next_trial(self) -> int:
        self.recorder.trials += 1
        return self.recorder.trials


def _increasing(fidelities: Sequence[float]) -> tuple[float, ...]:
    stops = tuple(float(fidelity) for fidelity in fidelities)
    if not stops or stops[0] <= 0 or any(b <= a for a, b in itertools.pairwise(stops)):
        raise ValueError(f"fidelities must be positive and increasing, got {stops}")
    return stops


def _score_of(record: Record) -> float:
    return math.inf if record["score"] is None else float(record["score"])
