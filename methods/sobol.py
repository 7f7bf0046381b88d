"""Quasi-random search."""

import numpy as np

from methods.base import Search
from tasks.space import Params, Space


class SobolSearch(Search):
    """Quasi-random search along a scrambled Sobol sequence, after the default."""

    name = "sobol"
    group = "random"
    citation = "Sobol', 1967; Owen, J. Complexity 1998"
    libraries = ("scipy.stats",)

    def start(self, space: Space, rng: np.random.Generator) -> None:
        from scipy.stats import qmc

        self.space = space
        self.sequence = qmc.Sobol(len(space), scramble=True, rng=rng)

    def ask(self) -> Params:
        return self.space.from_unit(self.sequence.random(1)[0])
