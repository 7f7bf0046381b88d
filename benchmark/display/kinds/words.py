"""Sentences of notes that several kinds of figures share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.analysis import words
from benchmark.study.model import Study


def seeds(counts: Iterable[int]) -> str:
    """`n = 3 seeds`, or the range where methods differ."""
    return f"n = {words.seeds(counts)}"


def unfinished(study: Study) -> str:
    """How many runs are drawn only as far as they got, if any."""
    states = study.runs["status"]
    going = int((~states.isin(["finished", "failed"])).sum())
    failed = int((states == "failed").sum())
    text = (
        f" Not finished and drawn as far as they got: {words.count(going, 'run')}." if going else ""
    )
    return text + (f" Failed and left out: {words.count(failed, 'run')}." if failed else "")


def off_axis(names: Sequence[str]) -> str:
    """A remark that names what the panel leaves out, if anything."""
    return f"off the axis: {words.some(names)}" if names else ""
