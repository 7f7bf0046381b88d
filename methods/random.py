"""Random search."""

import numpy as np

from methods.base import Search
from tasks.space import Params, Space


class RandomSearch(Search):
    """Uniform random search (log-uniform on log scales), after the default."""

    name = "random"
    group = "random"
    citation = "Bergstra & Bengio, JMLR 2012"

    def start(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng

    def ask(self) -> Params:
        return self.space.sample(self.rng)
