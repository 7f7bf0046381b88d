"""The optimum of a scan, on curves whose best strengths are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import make_smoothing_spline
from scipy.optimize import minimize

from tasks.finetune.digits import FinetuneDigits, FinetuneDigitsPerClass
from tasks.finetune.mnist import FinetuneMnistCoupled
from tasks.make.finetune_references import HIGHEST, LOWEST, POINTS, Curves, optimum

CENTRES = np.log(np.linspace(0.6, 4.0, 10))
GRID = np.linspace(np.log(LOWEST), np.log(HIGHEST), POINTS)


def curves() -> Curves:
    """E[r1] is a parabola about each class's centre, E[r2] falls with lambda."""
    ink = make_smoothing_spline(GRID, 1 - GRID / 2, lam=0)
    return [(make_smoothing_spline(GRID, -((GRID - c) ** 2), lam=0), ink) for c in CENTRES]


def test_every_class_gets_its_own_best() -> None:
    found = list(optimum(FinetuneDigitsPerClass(), curves()).values())
    assert found == pytest.approx(np.exp(CENTRES), rel=0.01)


def test_one_strength_is_the_compromise() -> None:
    found = optimum(FinetuneDigits(), curves())["lambda"]
    assert found == pytest.approx(np.exp(CENTRES.mean()), rel=0.01)


def test_coupled_classes_share_their_supply() -> None:
    task = FinetuneMnistCoupled()

    def loss(x: np.ndarray) -> float:
        return ((x - CENTRES) ** 2).mean() + task.scarcity * (1 - x.mean() / 2 - task.supply) ** 2

    exact = np.exp(minimize(loss, CENTRES).x)
    assert list(optimum(task, curves()).values()) == pytest.approx(exact, rel=0.01)


def test_an_optimum_at_the_end_of_the_scan_is_an_error() -> None:
    falling = make_smoothing_spline(GRID, -GRID, lam=0)
    with pytest.raises(ArithmeticError, match="end of the scan"):
        optimum(FinetuneDigits(), [(falling, falling)] * 10)
