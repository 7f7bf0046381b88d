"""A session reads what is stored of its run once."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmark.contract.methods import crash
from benchmark.engine.executor import with_prices
from benchmark.runs.runner import execute
from benchmark.runs.spec import RunSpec

ONCE = {"run.json": 1, "events.jsonl": 1}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each file of a run folder is opened for reading."""
    seen: Counter[str] = Counter()
    original = os.open

    def counting(path, flags, *rest, **options):
        if flags & os.O_ACCMODE == os.O_RDONLY and Path(path).name in ONCE:
            seen[Path(path).name] += 1
        return original(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", counting)
    return seen


def test_a_session_reads_description_and_log_once(
    toy_spec: Callable[..., RunSpec], reads: Counter[str]
) -> None:
    def of(session: Callable[[], object]) -> dict[str, int]:
        reads.clear()
        session()
        return dict(reads)

    spec = toy_spec("random")
    assert of(lambda: crash(spec, 30)) == ONCE  # a fresh one, cut off
    assert of(lambda: execute(spec)) == ONCE  # resumed
    assert of(lambda: execute(spec)) == ONCE  # finished already: refused
    longer = dataclasses.replace(spec, budget=2 * spec.budget)
    assert of(lambda: execute(longer)) == ONCE  # continued under a larger budget


def test_one_task_of_a_results_folder_has_one_set_of_prices(
    toy_spec: Callable[..., RunSpec],
) -> None:
    first = toy_spec("random")
    execute(first)
    other = dataclasses.replace(toy_spec("default"), prices=None)

    def call(*arguments: object) -> dict[str, float]:
        raise AssertionError("calibrated again")

    assert with_prices([other], call)[0].prices == first.prices
    elsewhere = dataclasses.replace(other, results=f"{other.results}-elsewhere")
    assert with_prices([elsewhere], lambda *arguments: {"step": 1.0})[0].prices == {"step": 1.0}
