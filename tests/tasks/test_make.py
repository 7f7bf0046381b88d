"""The makers of shipped data: tasks are found by name, references are medians over trainings, and
an interrupted maker goes on where it was."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from tasks.finetune.gaussian import FinetuneGaussian
from tasks.make import best_fixed, schedule_references
from tasks.make.find import task
from tasks.make.schedule_references import SEEDS, medians, trained
from tasks.make.stored import kept
from tasks.schedule.gaussian import ScheduleGaussian


def test_a_task_is_found_by_its_name() -> None:
    assert task("finetune/gaussian") is FinetuneGaussian
    with pytest.raises(SystemExit, match=r"unknown task 'finetune/none'; known are .*gaussian"):
        task("finetune/none")


def test_what_is_kept_is_not_measured_again(tmp_path: Path) -> None:
    store, measured = tmp_path / "store.json", []

    def measure() -> float:
        measured.append(1)
        return 0.5

    assert kept(store, "a", measure) == kept(store, "a", measure) == kept(store, "b", measure)
    assert len(measured) == 2


def test_references_are_medians_over_trainings(tmp_path: Path) -> None:
    gaussian, store = ScheduleGaussian(), tmp_path / "store.json"
    gaussian.setup()
    found = medians(gaussian, gaussian.space.default, 0.1, store)
    rows = [trained(gaussian, gaussian.space.default, 0.1, seed) for seed in SEEDS]
    assert found == {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    assert sorted(json.loads(store.read_text()).values(), key=repr) == sorted(rows, key=repr)


def test_seeds_that_choose_a_plan_are_not_those_that_measure_it() -> None:
    assert not set(best_fixed.SEEDS) & set(schedule_references.SEEDS)
