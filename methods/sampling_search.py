"""Search of the sampling levels of one trained network.

Scoring a network at other sampling levels costs no training. So most of the budget goes to one
network, and a search over the variables of its sampling levels chooses how it is sampled, by score
on the selection split.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from methods.base import Method, Problem, Search
from methods.grid import GridSearch
from methods.optuna_cmaes import OptunaCMAES
from methods.optuna_gp import OptunaGP
from methods.optuna_tpe import OptunaTPE
from methods.random import RandomSearch
from methods.sobol import SobolSearch
from tasks.base import Task
from tasks.schedule.oracles import ScheduleOracles
from tasks.space import Params, Space
from tasks.training import Training

SEARCHES: dict[str, type[Search]] = {
    cls.name: cls
    for cls in (RandomSearch, SobolSearch, GridSearch, OptunaTPE, OptunaGP, OptunaCMAES)
}
"""Searches that may choose the levels to try."""
LIBRARIES = tuple(sorted({module for cls in SEARCHES.values() for module in cls.libraries}))
REPORT_SPACING = 0.09
"""Share of the budget between two reports in training."""


class SamplingSearch(Method):
    """Default training, then a search of the levels that the network is sampled at.

    The last `share` of the budget goes to the search, by the method called `sampler`.
    """

    name = "sampling-search"
    group = "staged"
    citation = "-"
    uses = "scores of one network at many sampling levels"
    libraries = LIBRARIES

    def __init__(self, sampler: str = "random", share: float = 0.15) -> None:
        self.sampler = named_search(sampler)
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share}")
        self.share = share

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "schedule"

    def run(self, problem: Problem) -> None:
        train_and_search(problem, problem.space.default, self.sampler(), self.share)


def named_search(name: str) -> type[Search]:
    """One of `SEARCHES`. Raises ValueError for another name."""
    if name not in SEARCHES:
        raise ValueError(f"a sampler must be one of {', '.join(SEARCHES)}, got {name!r}")
    return SEARCHES[name]


def train_and_search(problem: Problem, params: Params, search: Search, share: float) -> None:
    """Train under `params` from the present progress on, then search until the budget ends.

    `share` is the search's part of the budget that is left. The sampling levels of `params` are
    tried first.
    """
    task = problem.oracles
    assert isinstance(task, ScheduleOracles)
    state: dict[str, Any] = {"begun": problem.progress, "reported": 0.0, "scores": []}
    training = task.begin(problem.seed("training"))
    restored = problem.restored
    if restored is not None:
        state = restored
        training.load_state_dict(restored["training"])
    _train(problem, task, training, params, state, 1 - share)
    _search(problem, task, training, params, state, search)


def _train(
    problem: Problem,
    task: ScheduleOracles,
    training: Training,
    params: Params,
    state: dict[str, Any],
    share: float,
) -> None:
    """Train for a `share` of what was left of the budget, reporting now and then."""
    levels = task.training_levels(task.position(params))
    horizon = share * (1 - state["begun"])
    while (trained := (problem.progress - state["begun"]) / horizon) < 1:
        if problem.progress >= state["reported"] + REPORT_SPACING:
            state["reported"] = problem.progress
            problem.report(task.candidate(training.ema, params))
            problem.checkpoint(state | {"training": training.state_dict()})
        task.train_step(training, levels, trained)


def _search(
    problem: Problem,
    task: ScheduleOracles,
    training: Training,
    params: Params,
    state: dict[str, Any],
    search: Search,
) -> None:
    """Try sampling levels until the budget ends, and report each that is the best so far.

    A restored run has the scores of its first trials, and asks and tells them again.
    """
    scores: list[float] = state["scores"]
    state = state | {"training": training.state_dict()}
    names = task.plans.sampling_names
    space = Space(tuple(v for v in problem.space.variables if v.name in names))
    space = space.starting_at(**{name: params[name] for name in space.names})
    search.start(space, np.random.default_rng(problem.seed("search")))
    for trial in itertools.count():
        sampling = params | (search.ask() or {}) if trial else params
        if trial == len(scores):
            candidate = task.candidate(training.ema, params, sampling)
            score = problem.score(candidate)
            if score < min(scores, default=math.inf):
                problem.report(candidate, score)
            scores.append(score)
            problem.checkpoint(state)
        finite = [score for score in scores[: trial + 1] if math.isfinite(score)]
        asked = {name: sampling[name] for name in space.names}
        search.tell(asked, min(scores[trial], max(finite, default=0.0)))
