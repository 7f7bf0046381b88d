"""The event log of a run: one JSON record per line, in the order in which things happened.

Records: `start` and `end` frame a session of the run; `trial`, `report` and `final` carry
parameters, scores, reported metrics and a clock snapshot; `unfinished` is a trial that the
budget cut short; `rewind` says that the log continues after its first `to` recorded steps; `retry`
says that a failed run is to be tried again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmark.files import REMEDY, BadResults

Record = dict[str, Any]
STEPS = ("trial", "report")
"""Records that a method's calls produced, in order: what a resumed run replays."""
SESSION = ("start", "end", "retry")

_decode = json.JSONDecoder().decode
"""As `json.loads` without its guess of the encoding, which takes a third of the time."""


def parse_log(content: bytes, path: Path) -> tuple[list[Record], int]:
    """Records of the log at `path`, and the length of the part they stand in.

    What a crash can leave at the end (half a line, a block of zeros) is not part of it. Raises
    BadResults, with the line's number, for anything else that is not a record.
    """
    length = content.rfind(b"\n") + 1
    lines = content[:length].splitlines(keepends=True)
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        try:
            record = _decode(line.decode())
            if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
                raise ValueError("not a record")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                return records, length - len(line)
            raise BadResults(f"{path} is damaged at line {number}: {error}; {REMEDY}") from None
        records.append(record)
    return records, length


def effective_steps(records: Iterable[Record]) -> list[Record]:
    """The trials and reports that count: those not dropped by a later rewind."""
    steps: list[Record] = []
    for record in records:
        if record["kind"] in STEPS:
            steps.append(record)
        elif record["kind"] == "rewind":
            del steps[record["to"] :]
    return steps


def last_clock(records: Sequence[Record]) -> Record | None:
    """The newest snapshot of the clock: what has been charged so far, and what else was spent."""
    return next((record["clock"] for record in reversed(records) if "clock" in record), None)


def last_session(records: Sequence[Record]) -> Record:
    """The last record about sessions; empty if there is none."""
    return next((record for record in reversed(records) if record["kind"] in SESSION), {})
