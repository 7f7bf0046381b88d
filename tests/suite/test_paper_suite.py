"""The suite of the paper: what it compares, in the paper's own terms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from benchmark import registry, suite
from methods.bilevel_paper import schedule
from methods.grid import refining_grid


def test_it_compares_what_the_paper_does() -> None:
    taking_part: dict[str, set[str]] = {}
    for task, method in suite.load("paper").pairs():
        taking_part.setdefault(task.name, set()).add(method.label)
    shared = {"default", "random", "skopt-gp", "bilevel-paper", "bilevel"}
    assert taking_part["finetune/sd15"] == shared | {"grid", "skopt-gp-20", "weighted-sum"}
    schedules = shared | {"successive-halving"}
    assert taking_part["schedule/mnist60k-published"] == schedules | {"skopt-gp-15"}
    assert taking_part["schedule/cifar10"] == schedules


def test_bayesian_search_also_ends_after_the_published_calls() -> None:
    methods = {method.label: method for method in suite.load("paper").methods}
    for calls in (15, 20):
        assert methods[f"skopt-gp-{calls}"].options == {"trials": calls}
        assert methods[f"skopt-gp-{calls}"].name == "skopt-gp"


def test_the_grid_begins_with_the_published_points() -> None:
    grid = refining_grid(registry.task("finetune/sd15").space, 5, np.random.default_rng(0))
    points = sorted(params["lambda"] for params in itertools.islice(grid, 5))
    assert points == pytest.approx([0.01, 0.1, 1, 10, 100])


def test_the_schedule_is_searched_in_the_published_box() -> None:
    space = registry.task("schedule/mnist60k-published").space
    box = {variable.name: (variable.low, variable.high) for variable in space.variables}
    assert box == {"start": (0, 0.4), "end": (0.8, 1), "tau": (1, 4), "eps": (0.005, 0.04)}
    assert not any(variable.log for variable in space.variables)


def test_the_published_method_moves_in_that_box() -> None:
    space = registry.task("schedule/mnist60k-published").space
    point = torch.tensor([0.1, 0.9, 2.0, 0.01], dtype=torch.float64)
    assert schedule.named(point) == {"start": 0.1, "end": 0.9, "tau": 2.0, "eps": 0.01}
    for far in (point - 5, point + 5):
        space.validate(schedule.named(schedule.bounded(far)))
