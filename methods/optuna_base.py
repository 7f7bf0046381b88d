"""Ask/tell over an Optuna study: what the methods built on Optuna samplers share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from methods.base import Search
from tasks.space import Params, Space, Variable

if TYPE_CHECKING:
    import optuna


def distributions(space: Space) -> dict[str, Any]:
    """The space in Optuna's terms."""
    return {variable.name: _distribution(variable) for variable in space.variables}


def _distribution(variable: Variable) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if variable.choices:
        return CategoricalDistribution([float(i) for i in range(len(variable.choices))])
    if variable.integer:
        return IntDistribution(round(variable.low), round(variable.high), log=variable.log)
    return FloatDistribution(variable.low, variable.high, log=variable.log)


def new_study(
    sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner | None = None
) -> optuna.Study:
    """A quiet in-memory study that minimises. Its name is fixed: Hyperband hashes it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(study_name="tuning", sampler=sampler, pruner=pruner)


class OptunaSearch(Search):
    """A search by one Optuna sampler."""

    @abstractmethod
    def sampler(self, space: Space, seed: int) -> optuna.samplers.BaseSampler:
        """The sampler, seeded."""

    def start(self, space: Space, rng: np.random.Generator) -> None:
        self.distributions = distributions(space)
        self.study = new_study(self.sampler(space, int(rng.integers(2**31))))
        self.study.enqueue_trial(space.default)
        self.trial = self.study.ask(self.distributions)

    def ask(self) -> Params:
        self.trial = self.study.ask(self.distributions)
        return dict(self.trial.params)

    def tell(self, params: Params, score: float) -> None:
        self.study.tell(self.trial, score)
