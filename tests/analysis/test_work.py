"""Runs whose work per device second is far from what is usual."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmark.analysis import work
from benchmark.analysis.verdict import verdicts
from benchmark.display.table import markdown
from benchmark.display.tables import tables
from benchmark.study.model import Study

Make = Callable[..., Study]
TASK = "schedule/digits"


def slow(study: Study, seed: int, factor: float, operation: str = "train step") -> None:
    """Let a run of `random` need `factor` times as long for an operation."""
    place = study.runs.index[(study.runs["method"] == "random") & (study.runs["seed"] == seed)][0]
    parts = json.loads(study.runs.loc[place, "breakdown"])
    parts[operation] *= factor
    study.runs.loc[place, "breakdown"] = json.dumps(parts)


@pytest.fixture
def study(make_results: Make) -> Study:
    """Five seeds of two methods that work at the same pace throughout."""
    made = make_results(tasks=1, methods=("random", "bilevel"), seeds=5)
    parts = {"train_step": 30.0, "denoise": 20.0, "overhead": 5.0}
    made.runs["breakdown"] = json.dumps(parts)
    counts = made.frame.groupby(["task", "method", "seed"])
    last = made.frame.index.isin(counts.tail(1).index)
    made.frame.loc[last, ["train_images", "nfe"]] = [60_000, 100_000]
    return made


def test_an_even_pace_is_not_flagged(study: Study) -> None:
    assert len(work.rates(study)) == 2 * 2 * 5
    assert set(work.rates(study)["usual"]) == {2000.0, 5000.0}
    assert work.unusual(study).empty


@pytest.mark.parametrize(("factor", "flagged"), [(1.2, 0), (1.5, 1), (0.8, 0), (0.7, 1)])
def test_a_run_that_is_a_third_off_is_flagged(study: Study, factor: float, flagged: int) -> None:
    slow(study, 2, factor, "train_step")
    table = work.unusual(study)
    assert len(table) == flagged
    if flagged:
        row = table.iloc[0]
        assert (row["method"], row["seed"], row["work"], row["n"]) == (
            "random",
            2,
            "train_images",
            5,
        )
        assert row["ratio"] == pytest.approx(1 / factor)


def test_a_flagged_run_is_named(study: Study) -> None:
    (even,) = verdicts(study)
    assert "unusual pace" not in " ".join(even.sentences)
    slow(study, 2, 2.0, "train_step")
    (found,) = verdicts(replace(study))
    assert "At an unusual pace, so perhaps disturbed: random seed 2 (" in " ".join(found.sentences)
    assert "seed 2: 50 % of usual train images" in markdown(tables(replace(study))["usage"])


def test_time_spent_on_other_work_changes_no_rate(study: Study) -> None:
    """A run that trained less and computed more of its own is as fast as the others."""
    slow(study, 1, 40.0, "overhead")
    assert work.unusual(study).empty


def test_two_runs_do_not_say_what_is_usual(make_results: Make) -> None:
    few = make_results(tasks=1, methods=("random",), seeds=2)
    assert work.unusual(few).empty


def test_failed_runs_and_runs_without_a_breakdown_are_left_out(study: Study) -> None:
    study.runs.loc[0, "status"] = "failed"
    study.runs.loc[1, "breakdown"] = None
    rates = work.rates(study)
    assert len(rates) == 2 * 8
    assert set(rates[rates["method"] == "random"]["n"]) == {3}
