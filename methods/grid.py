"""Grid search."""

from collections.abc import Iterator

import numpy as np

from methods.base import Search
from tasks.space import Params, Space


def refining_grid(
    space: Space, levels: int, rng: np.random.Generator, shifted: bool = False
) -> Iterator[Params]:
    """Points of a full-factorial grid, ends included, in random order; then of finer ones.

    Each refinement halves the spacing, so it contains the points already visited, which are
    left out. The random order makes an unfinished grid cover the box instead of one face of it.
    A `shifted` grid lies anywhere, by a uniform draw within its first spacing (wrapped round
    the box): no point of it is on an optimum by the luck of round numbers.
    """
    from sklearn.model_selection import ParameterGrid

    visited: set[tuple[float, ...]] = set()
    shift = float(rng.random()) / levels if shifted else 0.0
    while True:
        axis = (
            [(level / levels + shift) % 1 for level in range(levels)]
            if shifted
            else [level / (levels - 1) for level in range(levels)]
        )
        grid = ParameterGrid(dict.fromkeys(space.names, axis))
        while len(visited) < len(grid):  # a permutation of a grid in ten dimensions is too long
            point = tuple(grid[int(rng.integers(len(grid)))][name] for name in space.names)
            if point not in visited:
                visited.add(point)
                yield space.from_unit(np.array(point))
        levels = 2 * levels if shifted else 2 * levels - 1


class GridSearch(Search):
    """Full-factorial grid in random order, refined once it is complete.

    Five levels per variable, ends included; the default is tried first.
    """

    name = "grid"
    group = "grid"
    citation = "-"
    libraries = ("sklearn.model_selection",)

    def __init__(self, levels: int = 5, fidelity: float = 1.0, finish: float = 0.0) -> None:
        super().__init__(fidelity, finish)
        if levels < 2:
            raise ValueError(f"levels must be at least 2, got {levels}")
        self.levels = levels

    def start(self, space: Space, rng: np.random.Generator) -> None:
        self.points = refining_grid(space, self.levels, rng)

    def ask(self) -> Params:
        return next(self.points)
