"""The weighted sum on the Gaussian, whose five results are known in closed form."""

from __future__ import annotations

import pytest
from sample_budget import SampleBudget, resumed, spend

from methods.weighted_sum import LEVELS, WeightedSum
from tasks.base import Candidate
from tasks.finetune.gaussian import FinetuneGaussian, FinetuneGaussianPerClass
from tasks.finetune.solvers import LookAhead

SOLVER = LookAhead(upper_weight=1.0)


def test_finds_the_best_of_the_published_strengths() -> None:
    """r2 + r1 at lambda = 1 is the law N(1.5, 1/3), so E[r1] = -1/6: above the -0.236 that
    the task's own lower level can reach."""
    task = FinetuneGaussian()
    exact = {
        level: task.evaluate(Candidate({"lambda": level}, SOLVER), 0)["reward"] for level in LEVELS
    }
    assert max(exact, key=exact.__getitem__) == 1.0
    assert exact[1.0] == pytest.approx(-1 / 6)
    problem = spend(WeightedSum(), SampleBudget(task, 50_000))
    params, score = problem.reports[-1]
    assert params == {"lambda": 1.0}
    assert score == pytest.approx(1 / 6, abs=0.01)
    assert problem.candidates[-1].state == SOLVER


def test_starts_in_the_middle_and_visits_every_published_strength() -> None:
    assert LEVELS[0] == 1.0
    assert sorted(LEVELS) == [0.01, 0.1, 1.0, 10.0, 100.0]


def test_classes_share_a_strength() -> None:
    problem = spend(WeightedSum(fidelity=0.1), SampleBudget(FinetuneGaussianPerClass(), 2500))
    assert len(set(problem.reports[-1][0].values())) == 1
    assert len(problem.reports) == 5


def test_an_interrupted_run_goes_on_identically() -> None:
    method = WeightedSum(fidelity=0.01)
    whole = spend(method, SampleBudget(FinetuneGaussian(), 1000))
    rest = resumed(method, whole)
    assert len(rest.reports) > 5
    assert rest.reports == whole.reports[-len(rest.reports) :]
