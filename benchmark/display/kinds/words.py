"""Sentences of notes that several kinds of figures share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.analysis.words import count
from benchmark.study.model import Study


def seeds(counts: Iterable[int]) -> str:
    """`n = 3 seeds`, or the range where methods differ."""
    present = sorted({int(count) for count in counts if count})
    if not present:
        return "no seeds"
    if len(present) == 1:
        return f"n = {present[0]} seed{'s' if present[0] > 1 else ''}"
    return f"n = {present[0]} to {present[-1]} seeds"


def unfinished(study: Study) -> str:
    """How many runs are drawn only as far as they got, if any."""
    states = study.runs["status"]
    going = int((~states.isin(["finished", "failed"])).sum())
    failed = int((states == "failed").sum())
    text = f" Not finished and drawn as far as they got: {count(going, 'run')}." if going else ""
    return text + (f" Failed and left out: {count(failed, 'run')}." if failed else "")


def off_axis(names: Sequence[str]) -> str:
    """A remark that names what the panel leaves out, if anything: the first three."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"off the axis: {', '.join(names[:3])}{more}" if names else ""
