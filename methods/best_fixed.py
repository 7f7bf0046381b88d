"""An oracle: the best fixed setting that is known of a task, found before any clock started."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from methods.base import Method, Problem
from tasks.base import Task
from tasks.space import Params

STORED = Path(__file__).parent / "best_fixed.json"
"""By task: `params`, and `made_by` (the command, its grid and what it measured), an entry made by
`python -m tasks.make.best_fixed TASK`; or `same_as`, a task that only starts elsewhere."""


class BestFixed(Method):
    """Oracle in hindsight: the best setting of a coarse grid, for the whole budget.

    Not ranked, for it does not pay for its grid of whole trainings; it shows what a search of fixed
    settings could reach at best, noise of the grid aside.
    """

    name = "best-fixed"
    group = "fixed"
    citation = "-"
    uses = "hindsight: a grid of whole runs that is not charged"
    ranked = False

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.name in stored()

    def run(self, problem: Problem) -> None:
        problem.develop(stored()[problem.oracles.name])


@cache
def stored() -> dict[str, Params]:
    """The best settings known, by task."""
    found: dict[str, Any] = json.loads(STORED.read_text())
    return {task: found[entry.get("same_as", task)]["params"] for task, entry in found.items()}
