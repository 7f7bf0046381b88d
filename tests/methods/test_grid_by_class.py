"""The grid by class on three Gaussians whose optima are 3.5, 0.8 and 0.125."""

from __future__ import annotations

import numpy as np
import pytest
from sample_budget import SampleBudget, resumed, spend

from methods.grid_by_class import GridByClass, smoothed
from tasks.finetune.digits import FinetuneDigitsPerClass
from tasks.finetune.gaussian import FinetuneGaussian, FinetuneGaussianPerClass


def test_every_class_finds_its_own_optimum() -> None:
    problem = spend(GridByClass(fidelity=0.2), SampleBudget(FinetuneGaussianPerClass(), 80_000))
    params, _ = problem.reports[-1]
    assert params["lambda_0"] == pytest.approx(3.5, rel=0.3)
    assert params["lambda_1"] == pytest.approx(0.8, rel=0.3)
    assert params["lambda_2"] == pytest.approx(0.125, rel=0.5)


def test_without_smoothing_it_delivers_the_best_level_of_each_class() -> None:
    levels = np.array([0.0, 0.5, 1.0])
    means = np.array([[0.1, 0.3], [0.2, 0.1], [0.0, 0.2]])
    assert GridByClass(smooth=False).chosen(levels, means).tolist() == [0.5, 0.0]


def test_reports_after_every_batch() -> None:
    problem = spend(GridByClass(fidelity=0.1), SampleBudget(FinetuneGaussianPerClass(), 5000))
    assert len(problem.reports) == 10


def test_an_interrupted_run_goes_on_identically() -> None:
    method = GridByClass(fidelity=0.1)
    whole = spend(method, SampleBudget(FinetuneGaussianPerClass(), 8000))
    rest = resumed(method, whole)
    assert len(rest.reports) > 5
    assert rest.reports == whole.reports[-len(rest.reports) :]


def test_smoothing_overrules_one_lucky_level() -> None:
    levels = np.linspace(0, 1, 17)
    noise = np.random.default_rng(3).normal(0, 0.03, (17, 2))
    means = noise - 4 * (levels[:, None] - np.array([0.7, 0.3])) ** 2
    means[1, 0] = means[:, 0].max() + 0.02
    best = levels[smoothed(levels, means, levels).argmax(axis=0)]
    assert best == pytest.approx([0.7, 0.3], abs=0.13)


def test_smoothing_survives_equal_means() -> None:
    levels = np.linspace(0, 1, 5)
    assert smoothed(levels, np.ones((5, 2)), levels) == pytest.approx(np.ones((5, 2)))


def test_needs_one_strength_per_class() -> None:
    assert GridByClass.supports(FinetuneDigitsPerClass)
    assert not GridByClass.supports(FinetuneGaussian)
