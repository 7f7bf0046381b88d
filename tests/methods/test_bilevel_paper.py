"""The published algorithm on the Gaussian: what its gradient misses, and each option's effect.

r2 = -(x - 3)² / 2 and r1 = -(x - 1.5)² / 2: the optimum is lambda = 0.8, the root of the
penalty gradient 0.79 at gamma = 10 and 0.72 at gamma = 1 (quadrature).
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import Any, cast

import pytest
import torch
from sample_budget import SampleBudget, resumed, spend

from methods.base import Problem
from methods.bilevel_paper import PublishedBilevel
from methods.bilevel_paper.finetune import ESTIMATORS, by_group
from tasks.finetune.gaussian import FinetuneGaussian, FinetuneGaussianPerClass
from tasks.finetune.rewards import Rewards
from tasks.finetune.solvers import LOOK_AHEAD, Linearised

CORRECTED = {"step": 0.5, "log_steps": True, "batch": 5000, "start": 5.0, "iterations": 0}


def test_the_published_gradient_has_no_root_where_there_is_an_optimum() -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    upper, lower = -((x - 1.5) ** 2) / 2, -((x - 3) ** 2) / 2

    def signs(name: str, gamma: float) -> list[bool]:
        strengths = (0.3, 0.6, 1.0, 2.0, 10.0, 100.0)
        return [bool(ESTIMATORS[name](upper, lower, s, gamma) > 0) for s in strengths]

    assert signs("est1", 1.0) == signs("est1", 10.0) == [True] * 6
    for name in ("penalty", "covariance"):
        assert signs(name, 10.0) == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("estimator", "gamma", "expected"),
    [("est1", 1, 0.01), ("penalty", 1, 0.72), ("penalty", 10, 0.79), ("covariance", 1, 0.8)],
)
def test_where_each_estimator_leads_given_samples_and_steps(
    estimator: str, gamma: float, expected: float
) -> None:
    method = PublishedBilevel(finetune={"estimator": estimator, "gamma": gamma} | CORRECTED)
    problem = spend(method, SampleBudget(FinetuneGaussian(), 200_000))
    assert problem.reports[-1][0]["lambda"] == pytest.approx(expected, rel=0.06)


SCRIPT = {"gamma": 1.0, "batch": 5, "start": 5.0, "iterations": 0}
"""The defaults of the release's script, and no end but that of the budget."""


def published(budget: int = 4000, **options: Any) -> SampleBudget:
    method = PublishedBilevel(finetune=SCRIPT | options)
    return spend(method, SampleBudget(FinetuneGaussian(), budget))


@pytest.mark.slow
def test_as_released_it_stays_where_it_starts_or_is_thrown_far_off() -> None:
    """At lambda = 0.01 est1 has the sign of one sample in twelve; the box ends its plain steps."""
    ends = []
    for seed in range(8):
        problem = SampleBudget(FinetuneGaussian(), 10_000, seed)
        PublishedBilevel().run(cast(Problem, problem))
        assert problem.used == 500 * 12
        assert problem.reports[0][0]["lambda"] == 0.01
        ends.append(problem.reports[-1][0]["lambda"])
    assert all(end < 0.1 or end > 5 for end in ends)
    assert not any(0.4 < end < 1.6 for end in ends)  # the optimum is 0.8


def test_with_the_defaults_of_the_script_it_is_thrown_to_the_end_of_the_box() -> None:
    strengths = [state["strengths"][0] for _, state in published().states]
    assert strengths[0] == 5.0
    assert median(strengths[len(strengths) // 2 :]) == 0.01


def test_larger_batches_leave_the_plain_steps_too_short() -> None:
    slow = published(20_000, batch=200, estimator="covariance")
    assert 3.5 < slow.reports[-1][0]["lambda"] < 5.0
    repaired = published(20_000, batch=200, estimator="covariance", log_steps=True)
    assert repaired.reports[-1][0]["lambda"] == pytest.approx(0.8, rel=0.15)


def test_ten_iterations_of_the_script_stay_near_the_start() -> None:
    problem = SampleBudget(FinetuneGaussian(), 10_000)
    PublishedBilevel(finetune=SCRIPT | {"iterations": 10}).run(cast(Problem, problem))
    assert problem.used == 50
    assert 4.5 < problem.reports[-1][0]["lambda"] < 5.0


def test_delivers_its_solver() -> None:
    solvers = {candidate.state for candidate in published(100, rounds=7).candidates}
    assert solvers == {Linearised(rounds=7, target=10.0, batch=5)}
    assert published(100, solver="look-ahead").candidates[-1].state == LOOK_AHEAD


def test_reports_a_few_dozen_times_at_most_and_only_what_has_moved() -> None:
    slow = published(20_000, batch=200, estimator="covariance").reports
    assert 25 <= len(slow) <= 35
    found = [params["lambda"] for params, _ in published().reports]
    assert len(found) <= 35
    assert all(before != after for before, after in pairwise(found))


def test_an_interrupted_run_goes_on_identically() -> None:
    method = PublishedBilevel(finetune=SCRIPT | {"estimator": "covariance", "batch": 20})
    whole = spend(method, SampleBudget(FinetuneGaussian(), 1000))
    rest = resumed(method, whole)
    assert len(rest.reports) > 5
    assert rest.reports == whole.reports[-len(rest.reports) :]


@pytest.mark.parametrize("option", ["gamma", "batch", "rounds", "iterations"])
def test_settings_that_make_no_sense_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must"):
        PublishedBilevel(finetune={option: -1})


def test_each_class_follows_its_own_gradient() -> None:
    method = PublishedBilevel(finetune=CORRECTED | {"estimator": "covariance", "batch": 9000})
    problem = spend(method, SampleBudget(FinetuneGaussianPerClass(), 300_000))
    params, _ = problem.reports[-1]
    assert params["lambda_0"] == pytest.approx(3.5, rel=0.1)
    assert params["lambda_1"] == pytest.approx(0.8, rel=0.1)


def test_a_class_with_one_sample_stays_put() -> None:
    problem = SampleBudget(FinetuneGaussianPerClass(), 100)
    spend(PublishedBilevel(finetune=SCRIPT | {"batch": 4}), problem)
    params, _ = problem.reports[-1]
    assert params["lambda_0"] < 5.0
    assert params["lambda_1"] == params["lambda_2"] == 5.0


def test_classes_count_only_where_they_have_strengths_of_their_own() -> None:
    rewards = Rewards(torch.arange(4.0), torch.arange(4.0), torch.tensor([0, 1, 0, 1]))
    assert by_group(rewards, 1) == [rewards]
    assert [part.upper.tolist() for part in by_group(rewards, 2)] == [[0, 2], [1, 3]]
