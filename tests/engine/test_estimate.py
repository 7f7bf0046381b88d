"""What runs will take beside their budgets, from those that have finished."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmark.engine.estimate import unpaid
from benchmark.runs.runner import RunSpec, execute


def beside(spec: RunSpec) -> float:
    ledgers = spec.folder.events()[-1]["clock"]["ledgers"]
    return ledgers["setup"] + ledgers["evaluation"] + ledgers["checkpoint"]


def test_nothing_is_known_before_a_run_has_finished(toy_spec: Callable[..., RunSpec]) -> None:
    specs = [toy_spec(seed=seed) for seed in range(2)]
    found = unpaid(specs, specs)
    assert (found.seconds, found.runs, found.unknown) == (0.0, 0, ("toy/quadratic",))
    assert found.describe().endswith("not known before a run of toy/quadratic has finished here")


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
    found = unpaid(pending, [*random, *default])
    expected = (times[0] + times[1]) / 2 + times[2] + sum(times) / 3
    assert found.seconds == pytest.approx(expected)
    assert (found.runs, found.unknown) == (3, ())
    assert "as 3 finished runs here took" in found.describe()


def test_failed_runs_and_other_tasks_tell_nothing(toy_spec: Callable[..., RunSpec]) -> None:
    broken = toy_spec(prices={"trial": 1.0})  # no price of a step
    assert execute(broken).status == "failed"
    other = toy_spec(task="finetune/gaussian")
    assert unpaid([other], [broken]).unknown == ("finetune/gaussian",)
