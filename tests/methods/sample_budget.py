"""A problem with a budget of samples, for tests of methods that draw their own."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import pytest

from docs.studies.trial_size import Exhausted, SampleBudget
from methods.base import Method, Problem

__all__ = ["Exhausted", "SampleBudget", "resumed", "spend"]


def spend(method: Method, problem: SampleBudget) -> SampleBudget:
    """Run `method` until the budget is spent."""
    with pytest.raises(Exhausted):
        method.run(cast(Problem, problem))
    return problem


def resumed(method: Method, whole: SampleBudget) -> SampleBudget:
    """Run `method` again from a checkpoint half-way through the finished run `whole`."""
    used, state = whole.states[len(whole.states) // 2]
    problem = SampleBudget(whole.task, whole.budget, whole.run_seed)
    problem.used, problem.restored = used, deepcopy(state)
    return spend(method, problem)
