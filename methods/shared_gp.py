"""Gaussian-process search for one entropy strength that all variables share."""

from __future__ import annotations

import numpy as np

from methods.optuna_gp import OptunaGP
from tasks.base import Task
from tasks.space import Params, Space


class SharedGP(OptunaGP):
    """Bayesian search with a Gaussian process over one strength for all variables (Optuna).

    The settings are those of `optuna-gp`; the search starts at the default of the first variable.
    """

    name = "shared-gp"
    group = "model-based"
    citation = "Akiba et al., KDD 2019"

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "finetune" and len(task.space) > 1

    def start(self, space: Space, rng: np.random.Generator) -> None:
        self.names = space.names
        super().start(Space(space.variables[:1]), rng)

    def ask(self) -> Params:
        (strength,) = super().ask().values()
        return dict.fromkeys(self.names, strength)
