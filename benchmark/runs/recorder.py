"""The steps of one run: recorded with the clock, replayed from the log, jumped by a checkpoint.

A run resumes by replay: the method starts again from its seed, and its calls are answered from
the log, at no charge, until the log ends; oracle calls in between are done again, also at no
charge. A method that checkpoints jumps over that: asking for its state moves the log, the clock
and the random generator to where the checkpoint was written.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from benchmark.runs.clock import WORK, Clock
from benchmark.runs.journal import Journal
from benchmark.runs.judge import Judge
from benchmark.runs.log import Record
from benchmark.runs.spec import RunEnded, ending_run
from tasks.base import Candidate
from tasks.space import Params

EVALUATION_SPACING = (0.02, 0.2)
"""Bounds on the share of the budget between two evaluated reports, which is half of the share
used at the first: dense early, where curves move. Evaluation is free for the method but not
for whoever waits for the figures."""
NOTHING_CHARGED = {"ledgers": {"method": 0.0}, "breakdown": {}, "work": dict.fromkeys(WORK, 0)}


class ReplayMismatch(RuntimeError):
    """A resumed method asked for a step other than the next one of its log."""


class Recorder:
    """Records and replays; `rng` is the method's own generator, which checkpoints carry."""

    def __init__(
        self, clock: Clock, journal: Journal, judge: Judge, rng: np.random.Generator
    ) -> None:
        self._clock, self._journal, self._judge, self._rng = clock, journal, judge, rng
        self.trials = 0
        """Trials and reports that the method has begun, replayed ones included."""
        self.best_score = math.inf
        self.incumbent: Params | None = None
        self._come_to = 0
        """Steps of the journal that the method has come to."""
        self._pending: tuple[Candidate, Record] | None = None
        """The last report, for its evaluation at the end of the run."""
        self._evaluated_at = -math.inf
        self._checkpoint_due = 0.0

    @property
    def replaying(self) -> bool:
        return self._come_to < len(self._journal.steps)

    def begin(self) -> None:
        """Hand over to the method: from here on time is charged, unless a log is replayed."""
        if self.replaying:
            self._clock.rewind(NOTHING_CHARGED)  # progress is replayed from its start too
        else:
            self._clock.switch("method")

    def finish(self) -> None:
        """Evaluate the last report if it has not been, so that every curve has its end, and measure
        what is measured at the end alone."""
        self._clock.switch("evaluation")
        if self._pending is None:
            return
        candidate, step = self._pending
        known = step.get("metrics")
        metrics = known or self._judge.evaluate(candidate, step["trial"])
        more = self._judge.evaluate_final(candidate)
        if more or not known:
            self._journal.append(step | {"kind": "final", "metrics": metrics | more})

    def trial(self, step: Record, candidate: Candidate, score: float, deliver: bool) -> Record:
        """Record a scored trial, an incumbent if it is the best to be delivered so far."""
        better = deliver and math.isfinite(score) and score < self.best_score
        self._pending = None
        return self._append(step | {"incumbent": better}, candidate, score, better)

    def report(self, step: Record, candidate: Candidate, score: float | None) -> None:
        """Record an incumbent, and evaluate it if an evaluation is due."""
        share = self._clock.progress
        spacing = np.clip(self._evaluated_at / 2, *EVALUATION_SPACING)
        due = share >= self._evaluated_at + spacing
        record = self._append(step | {"incumbent": True}, candidate, score, due)
        self._pending = (candidate, record)
        if due:
            self._evaluated_at = share

    def unfinished(self, step: Record) -> None:
        """Record the trial that the budget ended, and none that is begun after that."""
        if self._clock.refusals == 1:
            with ending_run():
                self._journal.append(step | {"kind": "unfinished", "clock": self._clock.snapshot()})

    def replay(
        self, kind: str, params: Params, fidelity: float | None, candidate: Candidate | None = None
    ) -> Record | None:
        """The next logged step, which must be what the method asks for; None when live."""
        steps = self._journal.steps
        if self._come_to == len(steps):
            return None
        record = steps[self._come_to]
        asked = (kind, params, fidelity)
        logged = (record["kind"], record["params"], record.get("fidelity"))
        if asked != logged:
            raise RunEnded from ReplayMismatch(
                f"step {self._come_to} of {self._journal.folder.log} holds {logged}, but the "
                f"method now asks for {asked}: its choices are not a function of its seed and "
                "scores, or its code or options have changed. Run again with --fresh."
            )
        self._come_to += 1
        self._note(record)
        self._clock.rewind(record["clock"])
        if candidate is not None:
            self._pending = (candidate, record)
            if record["metrics"] is not None:
                self._evaluated_at = record["clock"]["ledgers"]["method"] / self._clock.budget
        if self._come_to == len(steps):
            self._clock.switch("method")
        return record

    def offer(self, owner: str, state: dict[str, Any]) -> None:
        """Write a checkpoint, unless one was written a moment ago or a report waits for its
        evaluation (its candidate would be lost with the process)."""
        waiting = self._pending is not None and self._pending[1]["metrics"] is None
        if self.replaying or waiting or time.monotonic() < self._checkpoint_due:
            return
        started = time.monotonic()
        with self._clock.enter("checkpoint"), ending_run():
            self._journal.save(
                {
                    "owner": owner,
                    "state": state,
                    "steps": self._come_to,
                    "trials": self.trials,
                    "evaluated_at": self._evaluated_at * self._clock.budget,
                    "clock": self._clock.snapshot(),
                    "rng": self._rng.bit_generator.state,
                }
            )
        self._checkpoint_due = time.monotonic() + 20 * (time.monotonic() - started)

    def restore(self, owner: str) -> dict[str, Any] | None:
        """Jump to the checkpoint that `owner` wrote, and return its state once.

        Without one, `owner` starts over, and so does the log from here: work that follows the
        progress of the budget cannot be replayed from its records.
        """
        replaying, saved = self.replaying, self._journal.take(owner)
        with ending_run():
            self._journal.rewind(self._come_to if saved is None else saved["steps"])
        for record in self._journal.steps[self._come_to :]:
            self._note(record)
        self._come_to = len(self._journal.steps)
        if saved is not None:
            self.trials = saved["trials"]
            self._evaluated_at = saved["evaluated_at"] / self._clock.budget
            self._rng.bit_generator.state = saved["rng"]
            self._clock.rewind(saved["clock"])
        if saved is not None or replaying:
            self._clock.switch("method")
        state: dict[str, Any] | None = saved and saved["state"]
        return state

    def _append(
        self, step: Record, candidate: Candidate, score: float | None, evaluate: bool
    ) -> Record:
        """Record one step; an incumbent's metrics go into the same line, so that a crash
        loses both or neither."""
        with ending_run():
            metrics = self._judge.evaluate(candidate, step["trial"]) if evaluate else None
        finite = score is not None and math.isfinite(score)
        record = step | {
            "score": score if finite else None,
            "metrics": metrics,
            "clock": self._clock.snapshot(),
        }
        if candidate.shown:
            record["shown"] = {name: float(value) for name, value in candidate.shown.items()}
        with self._clock.enter("checkpoint"), ending_run():
            self._journal.append(record)
        self._come_to += 1
        self._note(record)
        return record

    def _note(self, record: Record) -> None:
        """Update the incumbent from a new or replayed record."""
        if record["incumbent"]:
            self.incumbent = record["params"]
            if record["score"] is not None:
                self.best_score = record["score"]
        if record["metrics"] is not None:
            self._journal.metrics = record["metrics"]
