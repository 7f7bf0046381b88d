"""Grid search."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from methods.base import Search
from tasks.space import Params, Space, Variable


def refining_grid(
    space: Space, levels: int, rng: np.random.Generator, shifted: bool = False
) -> Iterator[Params]:
    """Points of a full-factorial grid, ends included, in random order; then of finer ones.

    Each refinement halves the spacing, so it contains the points already visited, which are
    left out. The random order makes an unfinished grid cover the box instead of one face of it.
    Whole numbers have no more levels than values, choices all of theirs from the start; where there
    is nothing else, the points end once all are visited.
    A `shifted` grid lies anywhere, by a uniform draw within its first spacing (wrapped round
    the box): no point of it is on an optimum by the luck of round numbers.
    """
    from sklearn.model_selection import ParameterGrid

    visited: set[tuple[float, ...]] = set()
    shift = float(rng.random()) / levels if shifted else 0.0
    points = math.prod(v.high - v.low + 1 if v.integer else math.inf for v in space.variables)
    while len(visited) < points:
        axis = (
            [(level / levels + shift) % 1 for level in range(levels)]
            if shifted
            else [level / (levels - 1) for level in range(levels)]
        )
        grid = ParameterGrid({v.name: _positions(v, axis) for v in space.variables})
        while len(visited) < len(grid):  # a permutation of a grid in ten dimensions is too long
            point = tuple(grid[int(rng.integers(len(grid)))][name] for name in space.names)
            if point not in visited:
                visited.add(point)
                yield space.from_unit(np.array(point))
        levels = 2 * levels if shifted else 2 * levels - 1


def _positions(variable: Variable, axis: Sequence[float]) -> Sequence[float]:
    """The levels of one variable in the unit interval, each value once."""
    if not variable.integer:
        return axis
    values = range(len(variable.choices)) or map(variable.from_unit, axis)
    return sorted({variable.to_unit(value) for value in values})


class GridSearch(Search):
    """Full-factorial grid in random order, refined once it is complete.

    Five levels per variable, ends included; the default is tried first.
    """

    name = "grid"
    group = "grid"
    citation = "-"
    libraries = ("sklearn.model_selection",)

    def __init__(
        self, levels: int = 5, fidelity: float = 1.0, finish: float = 0.0, grow: bool = False
    ) -> None:
        super().__init__(fidelity, finish, grow=grow)
        if levels < 2:
            raise ValueError(f"levels must be at least 2, got {levels}")
        self.levels = levels

    def start(self, space: Space, rng: np.random.Generator) -> None:
        self.points = refining_grid(space, self.levels, rng)

    def ask(self) -> Params | None:
        return next(self.points, None)
