"""Two-point stochastic approximation on the Gaussians, whose optima are known."""

from __future__ import annotations

import itertools
import math

import pytest
from sample_budget import SampleBudget, resumed, spend

from methods.spsa import SPSA
from tasks.finetune.gaussian import FinetuneGaussian, FinetuneGaussianPerClass
from tasks.space import Params


@pytest.mark.parametrize("seed", range(2))
def test_finds_the_optimum_of_the_gaussian(seed: int) -> None:
    problem = spend(SPSA(), SampleBudget(FinetuneGaussian(), 40_000, seed))
    assert problem.reports[0][0]["lambda"] == pytest.approx(10.0)
    assert problem.reports[-1][0]["lambda"] == pytest.approx(0.8, rel=0.1)


def test_finds_three_optima_from_the_mean_over_all_classes() -> None:
    problem = spend(SPSA(), SampleBudget(FinetuneGaussianPerClass(), 90_000))
    params, _ = problem.reports[-1]
    assert params["lambda_0"] == pytest.approx(3.5, rel=0.25)
    assert params["lambda_1"] == pytest.approx(0.8, rel=0.25)
    assert params["lambda_2"] == pytest.approx(0.125, rel=0.6)


class Recorder(FinetuneGaussian):
    """Remembers where it was asked for samples."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[float, int]] = []

    def guided(self, params: Params, count: int, seed: int, *solver: object):  # type: ignore[no-untyped-def]
        self.asked.append((params["lambda"], seed))
        return super().guided(params, count, seed)


def test_pairs_share_their_noise_and_steps_are_bounded() -> None:
    task = Recorder()
    spend(SPSA(first=100.0, limit=0.3), SampleBudget(task, 5000))
    pairs = list(zip(task.asked[::2], task.asked[1::2], strict=False))
    assert all(above[1] == below[1] for above, below in pairs)
    assert len({above[1] for above, _ in pairs}) == len(pairs)
    centres = [math.log(above[0] * below[0]) / 2 for above, below in pairs]
    steps = [abs(b - a) for a, b in itertools.pairwise(centres)]
    assert 0.29 < max(steps) < 0.31


def test_an_interrupted_run_goes_on_identically() -> None:
    whole = spend(SPSA(), SampleBudget(FinetuneGaussian(), 10_000))
    rest = resumed(SPSA(), whole)
    assert len(rest.reports) > 5
    assert rest.reports == whole.reports[-len(rest.reports) :]
