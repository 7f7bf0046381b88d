"""Covariance matrix adaptation."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from methods.optuna_base import OptunaSearch
from tasks.base import Task
from tasks.space import Space

if TYPE_CHECKING:
    import optuna


class OptunaCMAES(OptunaSearch):
    """Evolution strategy with covariance matrix adaptation (Optuna over cmaes).

    It starts from the default with steps of `spread` of each variable's range, on a log scale where
    the variable has one; population and rates are Hansen's defaults. It takes
    part from two numbers on: with one, Optuna's sampler draws at random, as it does for choices.
    """

    name = "optuna-cmaes"
    group = "model-based"
    citation = "Hansen & Ostermeier, Evol. Comput. 2001; Akiba et al., KDD 2019"
    libraries = ("optuna", "cmaes")

    def __init__(
        self,
        spread: float = 0.15,
        fidelity: float = 1.0,
        finish: float = 0.0,
        trials: int | None = None,
        grow: bool = False,
    ) -> None:
        super().__init__(fidelity, finish, trials, grow)
        if not spread > 0:
            raise ValueError(f"spread must be positive, got {spread}")
        self.spread = spread

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return sum(not variable.choices for variable in task.space.variables) > 1

    def sampler(self, space: Space, seed: int) -> optuna.samplers.BaseSampler:
        from optuna.samplers import CmaEsSampler

        with warnings.catch_warnings():  # Optuna 5 announces that a start will be given otherwise
            warnings.simplefilter("ignore", FutureWarning)
            return CmaEsSampler(
                x0=space.default,
                sigma0=self.spread,
                seed=seed,
                warn_independent_sampling=False,
            )
