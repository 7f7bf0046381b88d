"""Random search."""

import numpy as np

from methods.base import Search
from tasks.space import Params, Space


class RandomSearch(Search):
    """Uniform random search."""

    name = "random"
    citation = "Bergstra & Bengio, JMLR 2012"

    def start(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng

    def ask(self) -> Params:
        return self.space.sample(self.rng)
