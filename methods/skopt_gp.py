"""Gaussian-process search by scikit-optimize."""

import numpy as np

from methods.base import Search
from tasks.space import Params, Space


class SkoptGP(Search):
    """Bayesian search with a Gaussian process and hedged acquisition (scikit-optimize).

    The first trial is the default and four more are random; else scikit-optimize's settings.
    """

    name = "skopt-gp"
    group = "model-based"
    colour = "#56B4E9"
    citation = "Head et al., scikit-optimize, 2018; Hoffman et al., UAI 2011"
    libraries = ("skopt",)

    def start(self, space: Space, rng: np.random.Generator) -> None:
        from skopt import Optimizer

        self.space = space
        self.optimizer = Optimizer(
            [(0.0, 1.0)] * len(space),
            base_estimator="GP",
            n_initial_points=5,
            random_state=int(rng.integers(2**31)),
        )
        self.point = space.to_unit(space.default).tolist()

    def ask(self) -> Params:
        self.point = [float(x) for x in self.optimizer.ask()]
        return self.space.from_unit(np.array(self.point))

    def tell(self, params: Params, score: float) -> None:
        self.optimizer.tell(self.point, score)
