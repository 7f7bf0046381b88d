"""Gaussian-process search by scikit-optimize."""

import numpy as np

from methods.base import Search
from tasks.space import Params, Space


class SkoptGP(Search):
    """Bayesian search with a Gaussian process and hedged acquisition (scikit-optimize).

    The first trial is the default and four more are random; else scikit-optimize's settings.
    Numbers are searched in the unit cube, choices as categories.
    """

    name = "skopt-gp"
    group = "model-based"
    colour = "#56B4E9"
    citation = "Head et al., scikit-optimize, 2018; Hoffman et al., UAI 2011"
    libraries = ("skopt",)

    def start(self, space: Space, rng: np.random.Generator) -> None:
        from skopt import Optimizer
        from skopt.space import Categorical

        self.space = space
        self.optimizer = Optimizer(
            [
                Categorical([float(i) for i in range(len(v.choices))]) if v.choices else (0.0, 1.0)
                for v in space.variables
            ],
            base_estimator="GP",
            n_initial_points=5,
            random_state=int(rng.integers(2**31)),
        )
        self.point = [v.default if v.choices else v.to_unit(v.default) for v in space.variables]

    def ask(self) -> Params:
        self.point = [float(x) for x in self.optimizer.ask()]
        return {
            v.name: x if v.choices else v.from_unit(x)
            for v, x in zip(self.space.variables, self.point, strict=True)
        }

    def tell(self, params: Params, score: float) -> None:
        self.optimizer.tell(self.point, score)
