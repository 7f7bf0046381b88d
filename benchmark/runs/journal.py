"""The stored state of one run: its description, its log with a replay cursor, its checkpoint.

A session opens the journal once, inside `RunFolder.owned()`, and hands it down: `run.json` and
`events.jsonl` are read only once.
"""

from __future__ import annotations

from typing import Any

from benchmark.files import storing, write_json
from benchmark.runs import checkpoint
from benchmark.runs.description import read_description
from benchmark.runs.folder import RunFolder, ending
from benchmark.runs.log import STEPS, Record, effective_steps, last_clock
from benchmark.runs.spec import RunSpec, check_identity
from tasks.space import Params


class ReplayMismatch(RuntimeError):
    """A resumed method asked for a step other than the next one of its log."""


class Journal:
    """The stored state of one run. Raises BadResults where it cannot be read."""

    def __init__(self, folder: RunFolder, events: list[Record], mine: bool) -> None:
        self.folder = folder
        self.description = read_description(folder.description)
        self.ended = ending(folder, events, mine)
        """Status of the run before this session, and the reason of its end."""
        self.clock = last_clock(events)
        """The newest snapshot of the clock, or None."""
        self.steps = effective_steps(events)
        """The trials and reports to be replayed."""
        self.recorded = len(self.steps)
        """Trials and reports that count in the log on disk."""
        self.metrics: dict[str, float] | None = None
        """Reported metrics of the last evaluated incumbent that the session has come to."""
        self._cursor = 0
        self._checkpoint: dict[str, Any] | None = None

    @classmethod
    def read(cls, folder: RunFolder) -> Journal:
        """Open for reading alone."""
        return cls(folder, folder.events(), mine=False)

    @classmethod
    def open(cls, folder: RunFolder) -> Journal:
        """Open as the owner of the folder, and clear away what a crash has left."""
        journal = cls(folder, folder.mend(), mine=True)
        journal._checkpoint = checkpoint.load(folder)
        return journal

    def standing(self, spec: RunSpec) -> str:
        """Status of the run; `finished` only for good, under (at least) the budget of `spec`.

        Raises SpecMismatch where settings have changed.
        """
        if self.description is not None:
            check_identity(spec, self.description["spec"])
        status, reason = self.ended
        if status == "finished" and (reason != "returned" or self.description is None):
            return "finished" if self.budget >= spec.budget else "interrupted"
        return status

    @property
    def budget(self) -> float:
        """The largest budget that the run was begun under, in GPU-hours; 0 before the first."""
        return float(self.description["spec"]["budget"]) if self.description else 0.0

    def describe(self, description: dict[str, Any]) -> None:
        """Write `run.json`."""
        self.description = description
        with storing():
            write_json(self.folder.description, description)

    def append(self, record: Record) -> None:
        """Append one record to the log."""
        with storing():
            self.folder.append(record)
        self.recorded += record["kind"] in STEPS

    # -- replay -----------------------------------------------------------------------------

    @property
    def replaying(self) -> bool:
        """Whether stored steps are left that the method has not come to yet."""
        return self._cursor < len(self.steps)

    def replay(self, kind: str, params: Params, fidelity: float | None) -> Record | None:
        """The next stored step; None when live. Raises ReplayMismatch if the method asks for
        another."""
        if not self.replaying:
            return None
        record = self.steps[self._cursor]
        asked = (kind, params, fidelity)
        logged = (record["kind"], record["params"], record.get("fidelity"))
        if asked != logged:
            raise ReplayMismatch(
                f"step {self._cursor} of {self.folder.log} holds {logged}, but the method now "
                f"asks for {asked}: its choices are not a function of its seed and scores, or "
                "its code or options have changed. Run again with --fresh."
            )
        self._cursor += 1
        return record

    def jump(self, owner: str) -> tuple[dict[str, Any] | None, list[Record]]:
        """Leave the replay for the checkpoint that `owner` wrote, which is handed out once; also
        returns the steps that led there.

        Without one, `owner` starts over, and so does the log from here: work that follows the
        progress of the budget cannot be replayed from its records.
        """
        saved = self._checkpoint
        if saved is not None and (saved["owner"] != owner or saved["steps"] > len(self.steps)):
            saved = None
        if saved is not None:
            self._checkpoint = None
        steps = self._cursor if saved is None else saved["steps"]
        if steps < len(self.steps):
            self.append({"kind": "rewind", "to": steps})
            del self.steps[steps:]
            self.recorded = len(self.steps)
        skipped = self.steps[self._cursor :]
        self._cursor = len(self.steps)
        return saved, skipped

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint: `checkpoint.CONTENT`."""
        with storing():
            checkpoint.save(self.folder, state)


def carried(journal: Journal) -> dict[str, float]:
    """Ledgers in seconds as earlier sessions left them; empty before the first.

    Charged is what led to a recorded step; what an interruption cut off is done again, so its
    time moves to `setup`.
    """
    if journal.clock is None:
        return {}
    ledgers: dict[str, float] = dict(journal.clock["ledgers"])
    charged = journal.steps[-1]["clock"]["ledgers"]["method"] if journal.steps else 0.0
    ledgers["setup"] += max(ledgers["method"] - charged, 0.0)  # less if cut off in a replay
    ledgers["method"] = charged
    return ledgers
