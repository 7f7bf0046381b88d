"""What a method is handed: a task under a budget, with every step recorded.

A run resumes by replay: the method starts again from its seed, and `evaluate` and `report`
answer from the log, at no charge, until the log ends; oracle calls in between are done again,
also at no charge. A method that checkpoints jumps over that: asking for `restored` moves the
log, the clock and the random generator to where the checkpoint was written.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmark.runs.clock import WORK, BudgetExhausted, Clock
from benchmark.runs.folder import Record
from benchmark.runs.journal import Journal
from benchmark.runs.judge import Judge
from benchmark.runs.seeds import TRAINING, Seeds
from tasks.base import Candidate, Task
from tasks.oracles import exposed
from tasks.space import Params, Space

DEVELOP_STOPS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of a whole-budget solve at which it reports."""
DEVELOP_END = 0.985
"""Share of the budget a whole-budget solve plans for, so that its last report comes in time."""
EVALUATION_SPACING = (0.02, 0.2)
"""Bounds on the share of the budget between two evaluated reports, which is half of the share
used at the first: dense early, where curves move. Evaluation is free for the method but not
for whoever waits for the figures."""
NOTHING_CHARGED = {"ledgers": {"method": 0.0}, "breakdown": {}, "work": dict.fromkeys(WORK, 0)}


class RunEnded(BaseException):
    """Ends a run for the reason that is its cause: the task failed, or the log does not fit.

    Not an `Exception`: a method that caught it would go on from a step that is not in the log,
    and could not be resumed.
    """


@contextmanager
def _ending() -> Iterator[None]:
    """Whatever fails inside ends the run, even if the method catches exceptions."""
    try:
        yield
    except Exception as error:
        raise RunEnded from error


class RecordedProblem:
    """The `methods.base.Problem` of one run; a method sees it through `tasks.oracles.view`."""

    def __init__(
        self, task: Task, judge: Judge, clock: Clock, journal: Journal, seeds: Seeds, label: str
    ) -> None:
        self.space: Space = task.space
        self.oracles = exposed(task)
        self.rng = np.random.default_rng(seeds.of(label))
        self._task, self._judge, self._clock, self._seeds = task, judge, clock, seeds
        self._journal = journal
        self._trials = 0
        self._best_score = math.inf
        self._incumbent: Params | None = None
        self._pending: tuple[Candidate, Record] | None = None
        self._evaluated_at = -math.inf
        self._checkpoint_due = 0.0

    # -- what a method sees -----------------------------------------------------------------

    @property
    def progress(self) -> float:
        return min(self._clock.used / self._clock.budget, 1.0)

    @property
    def incumbent(self) -> Params | None:
        return self._incumbent

    @property
    def restored(self) -> dict[str, Any] | None:
        return self._restore("method")

    def seed(self, *axes: str | int) -> int:
        return self._seeds.for_method(*axes)

    def evaluate(self, params: Params, fidelity: float = 1.0, deliver: bool = True) -> float:
        return next(self._trial(params, (fidelity,), deliver))

    def stages(self, params: Params, fidelities: Sequence[float]) -> Iterator[float]:
        return self._trial(params, fidelities, deliver=True)

    def develop(self, params: Params) -> None:
        params = self.space.validate(params)
        restored = self._restore("develop") or {}  # without, the solve starts over
        start = float(restored.get("start", self._clock.used))

        def progress() -> float:
            left = self._clock.budget * DEVELOP_END - start
            return min((self._clock.used - start) / left, 1.0) if left > 0 else 1.0

        self._require_budget()
        seed = self.seed(TRAINING)
        candidates = self._task.iterate(
            params, DEVELOP_STOPS, seed, progress, restored.get("resume")
        )
        while True:
            with _ending():
                candidate = next(candidates, None)
            if candidate is None:
                return
            self.report(candidate)
            if candidate.resume is not None:
                self._offer("develop", {"start": start, "resume": candidate.resume})

    def score(self, candidate: Candidate) -> float:
        return float(self._task.score(candidate, self._seeds.of("score")))

    def report(self, candidate: Candidate, score: float | None = None) -> None:
        self._judge.check(candidate)
        params = self.space.validate(candidate.params)
        self._trials += 1
        recorded = self._replay("report", params, None)
        if recorded is not None:
            self._pending = (candidate, recorded)
            return
        self._require_budget()
        step: Record = {"kind": "report", "trial": self._trials, "params": params}
        share = self._clock.used / self._clock.budget
        due = share >= self._evaluated_at + np.clip(self._evaluated_at / 2, *EVALUATION_SPACING)
        self._append(step, candidate, score, incumbent=True, evaluated=due)
        if due:
            self._evaluated_at = share

    def checkpoint(self, state: dict[str, Any]) -> None:
        self._offer("method", state)

    # -- what the runner does ---------------------------------------------------------------

    def begin(self) -> None:
        """Hand over to the method: from here on time is charged, unless a log is replayed."""
        if self._journal.replaying:
            self._clock.rewind(NOTHING_CHARGED)  # progress is replayed from its start too
        else:
            self._clock.switch("method")

    def finish(self) -> None:
        """Evaluate the last report if it has not been, so that every curve has its end."""
        self._clock.switch("evaluation")
        if self._pending is not None and not self._pending[1].get("metrics"):
            candidate, step = self._pending
            metrics = self._judge.evaluate(candidate, step["trial"])
            self._journal.append(step | {"kind": "final", "metrics": metrics})

    # -- recording and replay ---------------------------------------------------------------

    def _trial(self, params: Params, fidelities: Sequence[float], deliver: bool) -> Iterator[float]:
        params = self.space.validate(params)
        stops = _increasing(fidelities)
        seed = self._seeds.trial(self._trials)
        self._trials += 1
        trial = self._trials
        replayed = 0
        candidates: Iterator[Candidate] | None = None
        for fidelity in stops:
            recorded = self._replay("trial", params, fidelity)
            if recorded is not None:
                replayed += 1
                yield _score_of(recorded)
                continue
            step: Record = {
                "kind": "trial", "trial": trial, "params": params, "fidelity": fidelity
            }  # fmt: skip
            try:
                with _ending():
                    if candidates is None:
                        candidates = self._task.iterate(params, stops, seed)
                        with self._clock.enter("setup"):  # paid for before the interruption
                            for _ in range(replayed):
                                next(candidates)
                    with self._clock.charge("trial"):
                        pass
                    candidate = next(candidates)
                    score = self.score(candidate)
            except BudgetExhausted:
                self._cut_short(step)
                raise
            better = deliver and math.isfinite(score) and score < self._best_score
            record = self._append(step, candidate, score, incumbent=better, evaluated=better)
            yield _score_of(record)

    def _cut_short(self, step: Record) -> None:
        """Record the trial that the budget ended, and none that is begun after that."""
        if self._clock.refusals == 1:
            with _ending():
                self._journal.append(step | {"kind": "unfinished", "clock": self._clock.snapshot()})

    def _append(
        self, step: Record, candidate: Candidate, score: float | None, *,
        incumbent: bool, evaluated: bool,
    ) -> Record:  # fmt: skip
        """Record one step; an incumbent's metrics go into the same line, so that a crash
        loses both or neither."""
        with _ending():
            metrics = self._judge.evaluate(candidate, step["trial"]) if evaluated else None
        finite = score is not None and math.isfinite(score)
        record = step | {
            "score": score if finite else None,
            "incumbent": incumbent,
            "metrics": metrics,
            "clock": self._clock.snapshot(),
        }
        if candidate.shown:
            record["shown"] = {name: float(value) for name, value in candidate.shown.items()}
        with self._clock.enter("checkpoint"), _ending():
            self._journal.append(record)
        self._note(record)
        self._pending = (candidate, record) if record["kind"] == "report" else None
        return record

    def _note(self, record: Record) -> None:
        """Update the incumbent from a new or replayed record."""
        if record["incumbent"]:
            self._incumbent = record["params"]
            if record["score"] is not None:
                self._best_score = record["score"]
        if record["metrics"] is not None:
            self._journal.metrics = record["metrics"]

    def _replay(self, kind: str, params: Params, fidelity: float | None) -> Record | None:
        """The next logged step, checked against what the method asks for; None when live."""
        with _ending():
            record = self._journal.replay(kind, params, fidelity)
        if record is None:
            return None
        self._note(record)
        self._clock.rewind(record["clock"])
        if kind == "report" and record["metrics"] is not None:
            self._evaluated_at = record["clock"]["ledgers"]["method"] / self._clock.budget
        if not self._journal.replaying:
            self._clock.switch("method")
        return record

    def _require_budget(self) -> None:
        if self._clock.ledger == "method" and self._clock.used >= self._clock.budget:
            self._clock.refuse()

    # -- checkpoints ------------------------------------------------------------------------

    def _offer(self, owner: str, state: dict[str, Any]) -> None:
        """Write a checkpoint, unless one was written a moment ago or a report waits for its
        evaluation (its candidate would be lost with the process)."""
        waiting = self._pending is not None and self._pending[1]["metrics"] is None
        if self._journal.replaying or waiting or time.monotonic() < self._checkpoint_due:
            return
        started = time.monotonic()
        with self._clock.enter("checkpoint"), _ending():
            self._journal.save(
                {
                    "owner": owner,
                    "state": state,
                    "steps": self._journal.recorded,
                    "trials": self._trials,
                    "evaluated_at": self._evaluated_at * self._clock.budget,
                    "clock": self._clock.snapshot(),
                    "rng": self.rng.bit_generator.state,
                }
            )
        self._checkpoint_due = time.monotonic() + 20 * (time.monotonic() - started)

    def _restore(self, owner: str) -> dict[str, Any] | None:
        """Jump to the checkpoint if `owner` wrote it; it is handed out once (`Journal.jump`)."""
        replaying = self._journal.replaying
        with _ending():
            saved, skipped = self._journal.jump(owner)
        for record in skipped:
            self._note(record)
        if saved is not None:
            self._trials = saved["trials"]
            self._evaluated_at = saved["evaluated_at"] / self._clock.budget
            self.rng.bit_generator.state = saved["rng"]
            self._clock.rewind(saved["clock"])
        if saved is not None or replaying:
            self._clock.switch("method")
        state: dict[str, Any] | None = saved and saved["state"]
        return state


def _increasing(fidelities: Sequence[float]) -> tuple[float, ...]:
    stops = tuple(float(fidelity) for fidelity in fidelities)
    if not stops or stops[0] <= 0 or any(b <= a for a, b in itertools.pairwise(stops)):
        raise ValueError(f"fidelities must be positive and increasing, got {stops}")
    return stops


def _score_of(record: Record) -> float:
    return math.inf if record["score"] is None else float(record["score"])
