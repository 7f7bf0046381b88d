"""The optimum of a scan, on curves whose best strengths are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.interpolate import make_smoothing_spline
from scipy.optimize import minimize
from torch import Tensor

from tasks.base import REFERENCES
from tasks.finetune.digits import FinetuneDigits, FinetuneDigitsPerClass
from tasks.finetune.gaussian import FinetuneGaussian
from tasks.finetune.mnist import FinetuneMnistCoupled
from tasks.finetune.rewards import Rewards
from tasks.make import finetune_references
from tasks.make.finetune_references import HIGHEST, LOWEST, POINTS, Curves, check, optimum, scan
from tasks.space import Params

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


class Drawn(FinetuneDigits):
    """Draws three images of a class that say at which strength they were drawn."""

    drawn: ClassVar[list[float]] = []

    def setup(self) -> None:
        pass

    def draw(self, params: Params, count: int, seed: int) -> Any:
        self.drawn.append(params["lambda"])
        labels = torch.arange(30) % 10
        return torch.full((30,), float(np.log(params["lambda"]))), labels, None

    def rate(self, images: Tensor, labels: Tensor) -> Rewards:
        return Rewards(-((images - labels / 10) ** 2), images, labels)


def test_an_interrupted_scan_goes_on_where_it_was(tmp_path: Path) -> None:
    store = tmp_path / "scan.json"
    ((_, whole),) = scan([Drawn], store)
    assert len(Drawn.drawn) == POINTS
    known = json.loads(store.read_text())
    store.write_text(json.dumps(dict(list(known.items())[: POINTS - 2])))
    Drawn.drawn.clear()
    ((task, again),) = scan([Drawn], store)
    assert len(Drawn.drawn) == 2
    for (upper, _), (same, _) in zip(whole, again, strict=True):
        assert upper(0.3) == same(0.3)
    assert optimum(task, again)["lambda"] == pytest.approx(np.exp(0.45), rel=0.02)


def test_stored_gains_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check(FinetuneGaussian())
    content = json.loads(REFERENCES.read_text())
    content["finetune/gaussian"]["made_by"]["params"] = {"lambda": 4.0}
    wrong = tmp_path / "references.json"
    wrong.write_text(json.dumps(content))
    monkeypatch.setattr(finetune_references, "REFERENCES", wrong)
    with pytest.raises(SystemExit, match="do not hold"):
        check(FinetuneGaussian())


def test_no_reference_is_set_by_a_method() -> None:
    for name, entry in json.loads(REFERENCES.read_text()).items():
        assert entry["made_by"]["command"].startswith("python -m tasks.make."), name
