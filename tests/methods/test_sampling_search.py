"""Searches that are offered `bilevel`'s last phase, and the oracle, on the closed-form Gaussian."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark import registry
from benchmark.runs import calibration
from benchmark.runs.log import effective_steps
from benchmark.runs.runner import execute
from benchmark.runs.spec import RunSpec
from methods.best_fixed import STORED, BestFixed, stored
from methods.sampling_search import SamplingSearch
from methods.search_then_tune import SearchThenTune
from tasks.schedule.gaussian import ScheduleGaussian

TASK = "schedule/gaussian"
SECONDS = 0.4


def steps(folder: Path, method: str, **options: Any) -> list[dict[str, Any]]:
    """The records of one run under the priced clock, in which a training step is 0.2 ms."""
    prices = dict.fromkeys(calibration.prices(TASK, "cpu"), 2e-4)
    prices |= dict.fromkeys(("denoise", "frechet", "denoise_forward", "denoise_backward"), 1e-7)
    spec = RunSpec(
        suite="test", task=TASK, label=method, method=method, seed=0, budget=SECONDS / 3600,
        results=str(folder), options=options, clock="priced", prices=prices,
    )  # fmt: skip
    outcome = execute(spec)
    assert outcome.status == "finished", outcome.reason
    return effective_steps(spec.folder.events())


def share(step: dict[str, Any]) -> float:
    return step["clock"]["ledgers"]["method"] / SECONDS


@pytest.mark.parametrize("sampler", ["random", "optuna-tpe"])
def test_the_search_changes_how_the_network_is_sampled_and_nothing_else(
    tmp_path: Path, sampler: str
) -> None:
    found = steps(tmp_path, "sampling-search", sampler=sampler)
    assert {step["kind"] for step in found} == {"report"}
    names = ScheduleGaussian.plans.sampling_names
    assert all(
        value == step["params"][name]
        for step in found
        for name, value in ScheduleGaussian.space.default.items()
        if name not in names
    )
    training = [step for step in found if step["score"] is None]
    searching = found[len(training) :]
    assert 8 <= len(training) <= 10
    assert share(training[-1]) < 0.85 < share(searching[0])
    scores = [step["score"] for step in searching]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) > 1
    assert searching[0]["params"] == ScheduleGaussian.space.default
    assert searching[-1]["params"] != ScheduleGaussian.space.default
    assert searching[-1]["clock"]["work"]["train_images"] == pytest.approx(
        training[-1]["clock"]["work"]["train_images"], rel=0.12
    )


@pytest.mark.parametrize("tuning", ["joint", "sampling"])
def test_a_search_can_spend_its_last_share_on_tuning(tmp_path: Path, tuning: str) -> None:
    found = steps(tmp_path, "search-then-tune", tuning=tuning, fidelity=0.2)
    trials = [step for step in found if step["kind"] == "trial"]
    reports = found[len(trials) :]
    assert {step["kind"] for step in reports} == {"report"}
    best = min(trials, key=lambda step: step["score"])["params"]
    names = ScheduleGaussian.plans.sampling_names
    trained = {name: value for name, value in best.items() if name not in names}
    assert all(
        {name: step["params"][name] for name in trained} == pytest.approx(trained)
        for step in reports
    )
    assert share(trials[-1]) == pytest.approx(0.4, abs=0.15)
    assert reports[-1]["params"] != pytest.approx(best)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (SamplingSearch, {"sampler": "gp"}, "one of random, .*, got 'gp'"),
        (SamplingSearch, {"share": 1.0}, "share must be in"),
        (SearchThenTune, {"search": "gp"}, "got 'gp'"),
        (SearchThenTune, {"tuning": "both"}, "sampling, joint, got 'both'"),
        (SearchThenTune, {"finish": 0.0}, "finish must be in"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    cls: type, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**options)


def test_stored_settings_fit_their_tasks_and_say_how_they_were_made() -> None:
    content = json.loads(STORED.read_text())
    assert stored().keys() == content.keys()
    for name, params in stored().items():
        registry.task(name).space.validate(params)
        assert BestFixed.supports(registry.task(name))
    for name, entry in content.items():
        if "same_as" not in entry:
            assert name in entry["made_by"]["command"]
            assert entry["made_by"]["scores"]["best"] <= entry["made_by"]["scores"]["default"]
    assert not BestFixed.supports(registry.task("finetune/gaussian"))


def test_the_oracle_trains_its_setting_for_the_whole_budget(tmp_path: Path) -> None:
    found = steps(tmp_path, "best-fixed")
    assert all(step["params"] == stored()[TASK] for step in found)
    assert share(found[-1]) > 0.95
    assert "hindsight" in BestFixed.uses


@pytest.mark.parametrize(
    "name", [k for k, v in json.loads(STORED.read_text()).items() if "same_as" in v]
)
def test_tasks_that_share_an_oracle_differ_in_their_start_alone(name: str) -> None:
    task, other = (
        registry.task(name),
        registry.task(json.loads(STORED.read_text())[name]["same_as"]),
    )
    assert task.space.starting_at(**other.space.default) == other.space
    assert issubclass(task, other)
    own = {attribute for attribute in vars(task) if not attribute.startswith("_")}
    assert own == {"name", "description", "plans", "space"}
