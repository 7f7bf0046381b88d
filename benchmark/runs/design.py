"""What a suite plans, stored beside its runs: pairs of task and method, and contrasts.

Contrasts count as planned only if they were stated before any run began, so the design is written
with the plan of the first session, and a later change is recorded as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from benchmark.files import BadResults, plain, read_json, write_json

T = TypeVar("T")
Pairs = tuple[tuple[str, str], ...]
"""Pairs of task and label, in the order of the suite."""
PLAN = "plan.json"
DESIGN = "design.json"
"""Files in a suite's folder: the pairs that were asked for, and the design."""
LEVEL = 0.05
"""Error probability of all planned contrasts together."""
SMALLEST_EFFECT = 0.01
"""Relative difference below which two methods are called tied, if the suite says nothing else."""
TARGETS = (0.5, 0.9)
"""Targets of a suite that states none, as shares of the gain between the stored references."""


@dataclass(frozen=True)
class Contrast:
    """One planned comparison on one task: `method` against the best of `against` (labels)."""

    name: str
    task: str
    method: str
    against: tuple[str, ...]


@dataclass(frozen=True)
class Design:
    """The comparisons that a suite plans, and their standard."""

    focus: str | None = None
    """Label of the method that the suite asks about."""
    smallest_effect: float = SMALLEST_EFFECT
    """Smallest relative difference of interest."""
    targets: tuple[float, ...] = TARGETS
    """Qualities of the cost to target: 0 is a task's stored default, 1 its stored tuned run."""
    contrasts: tuple[Contrast, ...] = ()
    changed: bool = False
    """Whether it was changed after runs had begun: then nothing in it was planned."""

    @property
    def least_seeds(self) -> int:
        """Seeds from which on every contrast can be decided: an exact test of n pairs gives a p of
        2 / 2^n at best, and the strictest step of Holm's correction takes it times their number."""
        return math.floor(math.log2(len(self.contrasts) / LEVEL) + 1) + 1 if self.contrasts else 1


def planned(suite_folder: Path) -> Pairs:
    """The pairs that were asked for. Raises BadResults for a damaged plan."""
    return _read(suite_folder / PLAN, parse_plan, ())


def read_design(suite_folder: Path) -> Design:
    """The stored design; an empty one for results that have none. Raises BadResults."""
    return _read(suite_folder / DESIGN, parse_design, Design())


def _read(path: Path, parse: Callable[[Any], T], missing: T) -> T:
    found = read_json(path)
    try:
        return missing if found is None else parse(found)
    except (LookupError, TypeError, ValueError) as error:
        raise BadResults(
            f"{path} is damaged ({error}); delete it, and run the suite again to restore it"
        ) from None


def record_design(suite_folder: Path, design: Design) -> None:
    """Store the design. One that differs from a stored one, or comes after runs that were begun
    without one, is stored as changed. Raises BadResults and StorageError."""
    path = suite_folder / DESIGN
    if path.exists():
        design = combined([read_design(suite_folder), design], last_wins=True)
    elif design.contrasts and (suite_folder / "runs").exists():
        design = replace(design, changed=True)
    suite_folder.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(design))


def combined(designs: Iterable[Design], last_wins: bool = False) -> Design:
    """The first (or last) design, marked as changed where the others state something else."""
    known = list(designs)
    kept = known[-1 if last_wins else 0]
    stated = {replace(design, changed=False) for design in known}
    return replace(kept, changed=len(stated) > 1 or any(design.changed for design in known))


def parse_plan(stored: Any) -> Pairs:
    """Stored pairs. Raises TypeError or ValueError for anything else."""
    return tuple((_text(task), _text(label)) for task, label in stored)


def parse_design(stored: dict[str, Any]) -> Design:
    """A stored design. Raises LookupError, TypeError or ValueError for what no session writes."""
    found = plain(stored)
    contrasts = []
    for entry in found["contrasts"]:
        name, task, method = (_text(entry[key]) for key in ("name", "task", "method"))
        contrasts.append(Contrast(name, task, method, tuple(map(_text, entry["against"]))))
    return Design(
        focus=found["focus"] and _text(found["focus"]),
        smallest_effect=float(found["smallest_effect"]),
        targets=tuple(map(float, found["targets"])),
        contrasts=tuple(contrasts),
        changed=bool(found["changed"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a name")
    return value
