"""The stored state of one run: its description, the steps of its log, its checkpoint.

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


class Journal:
    """The stored state of one run. Raises BadResults where it cannot be read."""

    def __init__(self, folder: RunFolder, events: list[Record], mine: bool) -> None:
        self.folder = folder
        self.description = read_description(folder.description)
        self.ended = ending(folder, events, mine)
        """Status of the run before this session, and the reason of its end."""
        self.clock = last_clock(events)
        """The newest snapshot of the clock before this session, or None."""
        self.steps = effective_steps(events)
        """The trials and reports that count, those of this session included."""
        self.metrics: dict[str, float] | None = None
        """Reported metrics of the last evaluated incumbent that the session has come to."""
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

    @property
    def ledgers(self) -> dict[str, float]:
        """Ledgers in seconds as earlier sessions left them; empty before the first.

        Charged is what led to a recorded step; what an interruption cut off is done again, so its
        time moves to `setup`.
        """
        if self.clock is None:
            return {}
        ledgers: dict[str, float] = dict(self.clock["ledgers"])
        charged = self.steps[-1]["clock"]["ledgers"]["method"] if self.steps else 0.0
        ledgers["setup"] += max(ledgers["method"] - charged, 0.0)  # less if cut off in a replay
        ledgers["method"] = charged
        return ledgers

    def describe(self, description: dict[str, Any]) -> None:
        """Write `run.json`."""
        self.description = description
        write_json(self.folder.description, description)

    def append(self, record: Record) -> None:
        """Append one record to the log."""
        with storing():
            self.folder.append(record)
        if record["kind"] in STEPS:
            self.steps.append(record)

    def rewind(self, steps: int) -> None:
        """Let no more than the first `steps` count."""
        if steps < len(self.steps):
            self.append({"kind": "rewind", "to": steps})
            del self.steps[steps:]

    def take(self, owner: str) -> dict[str, Any] | None:
        """The checkpoint that `owner` wrote (`checkpoint.CONTENT`), which is handed out once."""
        saved = self._checkpoint
        if saved is None or saved["owner"] != owner or saved["steps"] > len(self.steps):
            return None
        self._checkpoint = None
        return saved

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint."""
        checkpoint.save(self.folder, state)
