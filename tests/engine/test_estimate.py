"""What runs will take beside their budgets, from those that have finished."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from benchmark.engine.estimate import Durations, beside_budgets, clock_time
from benchmark.engine.live import Progress
from benchmark.runs.runner import execute
from benchmark.runs.spec import Outcome, RunSpec


def beside(spec: RunSpec) -> float:
    ledgers = spec.folder.events()[-1]["clock"]["ledgers"]
    return ledgers["setup"] + ledgers["evaluation"] + ledgers["checkpoint"]


def test_nothing_is_known_before_a_run_has_finished(toy_spec: Callable[..., RunSpec]) -> None:
    specs = [toy_spec(seed=seed) for seed in range(2)]
    said = beside_budgets(specs, specs)
    assert "not known before a run of toy/quadratic has finished here" in said
    assert "about" not in said


def test_it_is_the_mean_of_the_same_method_or_else_of_the_task(
    toy_spec: Callable[..., RunSpec],
) -> None:
    random = [toy_spec("random", seed=seed) for seed in range(3)]
    default = [toy_spec("default", seed=seed) for seed in range(2)]
    for spec in (*random[:2], default[0]):
        execute(spec)
    times = [beside(random[0]), beside(random[1]), beside(default[0])]
    assert min(times) > 0  # evaluations have a price
    pending = [random[2], default[1], toy_spec("grid", seed=0)]
    durations = Durations([*random, *default])
    means = [(times[0] + times[1]) / 2, times[2], sum(times) / 3]
    assert [durations.beside(spec) for spec in pending] == pytest.approx(means)
    said = beside_budgets(pending, [*random, *default])
    assert f"about {clock_time(sum(means))} with one worker, as 3 finished runs here took" in said
    assert "an optimiser's own time" in said
    assert said.count("not known before") == 1
    assert "not known before a run of grid has finished here" in said


def test_failed_runs_and_other_tasks_tell_nothing(toy_spec: Callable[..., RunSpec]) -> None:
    broken = toy_spec(prices={"trial": 1.0})  # no price of a step
    assert execute(broken).status == "failed"
    other = toy_spec(task="finetune/gaussian")
    said = beside_budgets([other], [broken])
    assert "about" not in said
    assert "not known before a run of finetune/gaussian has finished here" in said


def finish(spec: RunSpec, wall: float) -> None:
    """Store an end by which the run took so many seconds of wall time."""
    execute(spec)
    (*lines, last) = spec.folder.log.read_text().splitlines()
    end = json.loads(last)
    assert 0 < end["clock"]["wall"] < wall
    end["clock"]["wall"] = wall
    spec.folder.log.write_text("\n".join([*lines, json.dumps(end)]) + "\n")


def test_an_optimisers_own_time_counts_although_the_priced_clock_does_not_charge_it(
    toy_spec: Callable[..., RunSpec],
) -> None:
    done, to_come = toy_spec(seed=0), toy_spec(seed=1)
    finish(done, 602.0)  # of which its budget are 2
    assert Durations([done]).beside(to_come) == pytest.approx(600.0, abs=1.0)
    progress = Progress([done, to_come], 2, workers=1)
    assert progress.time_left().startswith("at least ")
    progress.record(Outcome(done, "finished"))
    assert progress.time_left() == "about 10:02 left"


def test_a_run_that_is_on_its_way_tells_by_its_pace(toy_spec: Callable[..., RunSpec]) -> None:
    spec = toy_spec(clock="device")
    progress = Progress([spec], 1, workers=1)
    progress.start(spec)
    progress._handed_out[spec.folder.path] -= 60
    spec.folder.path.mkdir(parents=True)
    life = {"time": time.time() + 1, "progress": 0.25, "metrics": {}}
    spec.folder.heartbeat.write_text(json.dumps(life))
    assert progress.seconds_left() == pytest.approx(180, rel=0.05)
