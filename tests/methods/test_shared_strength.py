"""Searches of one strength for all variables, on Gaussians whose optima are known."""

from __future__ import annotations

import numpy as np
import pytest
from sample_budget import SampleBudget, spend

from methods.shared_gp import SharedGP
from methods.shared_grid import PUBLISHED, SharedGrid
from tasks.finetune.gaussian import (
    FinetuneGaussian,
    FinetuneGaussianPerClass,
    mean_reward,
    tilted_law,
)


def shared_optimum() -> float:
    """The strength at which the three classes' mean reward is best, from the closed form."""
    strengths = np.geomspace(0.01, 100, 4001)
    targets = FinetuneGaussianPerClass.upper_targets
    means = [np.mean([mean_reward(tilted_law(s), t) for t in targets]) for s in strengths]
    return float(strengths[np.argmax(means)])


def test_the_grid_visits_the_published_strengths_and_then_halves_around_the_best() -> None:
    problem = spend(SharedGrid(), SampleBudget(FinetuneGaussian(), 9 * 5000))
    tried = [params["lambda"] for params, _ in problem.trials]
    assert tried[0] == 10.0
    assert sorted(tried[:5]) == sorted(PUBLISHED)
    assert tried[5:7] == pytest.approx([10**-0.5, 10**0.5])
    best = min(problem.trials[:7], key=lambda trial: trial[1])[0]["lambda"]
    assert tried[7:9] == pytest.approx([best / 10**0.25, best * 10**0.25])
    assert problem.reports[-1][0]["lambda"] == pytest.approx(0.8, rel=0.3)


@pytest.mark.parametrize("method", [SharedGrid, SharedGP])
def test_all_variables_share_the_best_strength(method: type) -> None:
    problem = spend(method(), SampleBudget(FinetuneGaussianPerClass(), 100_000))
    assert all(len(set(params.values())) == 1 for params, _ in problem.trials)
    found = problem.reports[-1][0]["lambda_0"]
    assert found == pytest.approx(shared_optimum(), rel=0.35)


@pytest.mark.parametrize("method", [SharedGrid, SharedGP])
def test_the_default_is_the_first_trial_and_comes_once(method: type) -> None:
    problem = spend(method(), SampleBudget(FinetuneGaussianPerClass(), 50_000))
    tried = [params for params, _ in problem.trials]
    assert tried[0] == problem.space.default
    assert problem.space.default not in tried[1:]
