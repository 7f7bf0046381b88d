"""Hypervolume of reward and divergence against brute force, and on runs with a known outcome."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.analysis.hypervolume import hypervolume, hypervolumes
from benchmark.display.tables import tables
from benchmark.runs.runner import execute
from benchmark.study.model import Study
from tasks.base import Candidate
from tasks.finetune.gaussian import FinetuneGaussian

CELLS = 12


@given(st.lists(st.tuples(st.integers(-3, CELLS), st.integers(-3, CELLS)), max_size=12))
def test_it_is_the_number_of_dominated_cells(points: list[tuple[int, int]]) -> None:
    cells = [(i, j) for i in range(CELLS) for j in range(CELLS)]
    dominated = sum(any(x > i and y > j for x, y in points) for i, j in cells)
    assert hypervolume(np.array(points, dtype=float).reshape(-1, 2)) == pytest.approx(dominated)


def test_what_is_not_finite_counts_for_nothing() -> None:
    points = np.array([[0.5, 0.5], [math.inf, 1.0], [1.0, -math.inf], [math.nan, 2.0]])
    assert hypervolume(points) == 0.25
    assert hypervolume(np.empty((0, 2))) == 0


def front(stored: dict[str, dict[str, float]]) -> np.ndarray:
    """The trade-off of every strength of the Gaussian task, in units of its references."""
    task = FinetuneGaussian()
    found = [task.evaluate(Candidate({"lambda": x}), 0) for x in np.geomspace(0.01, 100, 4001)]
    default, tuned = stored["default"]["reward"], stored["tuned"]
    x = [(point["reward"] - default) / (tuned["reward"] - default) for point in found]
    y = [1 - point["kl"] / (2 * tuned["kl"]) for point in found]
    return np.stack([x, y], axis=1)


def test_runs_end_where_the_closed_form_says(toy_spec, tmp_path: Path) -> None:
    """The optimum alone dominates half, and no run more than the whole front; a default that never
    moves dominates nothing."""
    prices = {"trial": 0.01} | dict.fromkeys(("denoise", "guided_denoise", "reward"), 1e-7)
    for method in ("default", "bilevel"):
        spec = toy_spec(method, task="finetune/gaussian", prices=prices, budget=0.02 / 3600)
        assert execute(spec).status == "finished"
    folder = spec.folder.path.parents[4]
    study = Study.load(folder)
    table = hypervolumes(study).set_index(["method", "fraction"])["hypervolume"]
    assert table["default", 1.0] == 0
    stored = FinetuneGaussian.references()
    assert stored["tuned"]["kl"] > 0
    assert 0.5 < table["bilevel", 1.0] < hypervolume(front(stored))
    assert table["bilevel"].is_monotonic_increasing
    shown = tables(study)["hypervolume"].block("finetune/gaussian")
    assert shown is not None
    assert len(shown.rows) == 2
