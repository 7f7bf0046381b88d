"""A new method file to start from."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from benchmark import registry
from benchmark.errors import UserError

TEXT = '''"""{title}: say in a paragraph what the method does and where it is published."""

import numpy as np

from methods.base import Search
from tasks.space import Params, Space


class {cls}(Search):
    """One line for tables and `list methods`."""

    name = "{name}"
    citation = "Author et al., Venue Year"

    def start(self, space: Space, rng: np.random.Generator) -> None:
        # Make the optimiser. All randomness comes from `rng`, or a run cannot be repeated.
        self.space, self.rng = space, rng
        self.best = (float("inf"), space.default)

    def ask(self) -> Params:
        # The next parameters to try: {{variable: value}} inside the space. Here: a step of a
        # tenth of the box from the best point so far.
        position = self.space.to_unit(self.best[1])
        return self.space.from_unit(position + self.rng.normal(0, 0.1, len(self.space)))

    def tell(self, params: Params, score: float) -> None:
        # `score` is a loss: lower is better, on every task. The first one is the default's.
        if score < self.best[0]:
            self.best = (score, params)
'''


def write(name: str, folder: Path | None) -> Path:
    """Write `<folder>/<name>.py`, into a folder that is made if it is missing. Never overwrites a
    file.

    The default folder is the methods room of a checkout; an installed copy is left alone, and the
    file goes to the working directory.

    Raises UserError for a name that cannot be used.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise UserError(f"a method name is lower-case letters, digits and '-', got {name!r}")
    if name in registry.all_methods():
        raise UserError(f"there is a method {name!r} already")
    module = name.replace("-", "_")
    if keyword.iskeyword(module):
        raise UserError(f"{name!r} is a word of the Python language")
    if folder is None:
        import methods

        room = Path(methods.__path__[0])
        folder = room if (room.parent / "pyproject.toml").exists() else Path()
    path = folder / f"{module}.py"
    cls = "".join(part.capitalize() for part in name.split("-"))
    folder.mkdir(parents=True, exist_ok=True)
    with open(path, "x") as file:
        file.write(TEXT.format(title=cls, cls=cls, name=name))
    return path
