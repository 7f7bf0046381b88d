"""The contract of a method: one class in one file that works on a problem until its end.

A method has no budget, logging, checkpoint-file or timing code: the problem it is handed
meters every call and ends the run by raising out of one of them. That is what makes a new
baseline a fair competitor.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from itertools import count
from typing import Any, ClassVar, Protocol, TypeVar, get_type_hints

import numpy as np

from tasks.base import Candidate, Task
from tasks.oracles import Oracles
from tasks.space import Params, Space

Settings = TypeVar("Settings")

GROUPS = {
    "fixed": "#000000",
    "grid": "#0072B2",
    "random": "#777777",
    "model-based": "#009E73",
    "multi-fidelity": "#CC79A7",
    "staged": "#332288",
    "weighted sum": "#E69F00",
    "stochastic approximation": "#882255",
    "bilevel": "#D55E00",
}
"""Groups of methods in the order in which they are listed, with their colours: Okabe and Ito's
("Color Universal Design", 2008) and Paul Tol's muted scheme ("Colour Schemes", SRON 2021), safe for
the common colour-vision deficiencies."""

TRIALS = 9
"""Trials of a search before its budget makes them longer too (`Search`, `grow`)."""


class Problem(Protocol):
    """A task under a budget, as a method sees it. Scores are losses: lower is better."""

    @property
    def space(self) -> Space:
        """The upper-level variables; the same object for every method."""
        ...

    @property
    def rng(self) -> np.random.Generator:
        """The method's own randomness, seeded by suite, task, method and run seed."""
        ...

    @property
    def oracles(self) -> Oracles:
        """The white-box oracles of the task's family, each metered, and nothing else of the task:
        `tasks.finetune.base.FinetuneOracles` or `tasks.schedule.base.ScheduleOracles`."""
        ...

    @property
    def progress(self) -> float:
        """Share of the budget used so far, 0 to 1."""
        ...

    @property
    def incumbent(self) -> Params | None:
        """What would be delivered if the run ended now."""
        ...

    @property
    def restored(self) -> dict[str, Any] | None:
        """The last checkpointed state of an interrupted run, or None on a fresh start."""
        ...

    def seed(self, *axes: str | int) -> int:
        """A seed below 2**32 hashed from the run seed and `axes`; stateless, so resumable.

        It is the same for every method that asks: `seed("training")` is that of the one long
        training of a run, so all methods start from the same weights and see the same batches.
        """
        ...

    def evaluate(self, params: Params, fidelity: float = 1.0, deliver: bool = True) -> float:
        """Solve the lower level at `params` from scratch, score it, record a trial.

        The best-scored trial becomes the incumbent; with `deliver=False` it does not, and the
        method hands over its choice by `report`.
        """
        ...

    def stages(self, params: Params, fidelities: Sequence[float]) -> Iterator[float]:
        """One lower-level solve at `params`, scored at each of the increasing `fidelities`.

        Stop iterating to abandon the trial: what was not reached is not charged.
        """
        ...

    def develop(self, params: Params) -> None:
        """Give all the rest of the budget to one lower-level solve at `params`."""
        ...

    def score(self, candidate: Candidate) -> float:
        """Score a candidate on the selection split (charged, not recorded)."""
        ...

    def report(self, candidate: Candidate, score: float | None = None) -> None:
        """Hand over what a single-run method would deliver if it were stopped now."""
        ...

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Offer a resumable state (nested dicts and lists of tensors, numbers, strings).

        The problem's own `rng` is saved with it. The harness decides when to write.
        """
        ...


class Method(ABC):
    """One way to tune. Options are keyword arguments of `__init__` with defaults."""

    name: ClassVar[str]
    citation: ClassVar[str] = "-"
    uses: ClassVar[str] = "scores"
    """What the method uses beyond the space, in words a table can show."""
    ranked: ClassVar[bool] = True
    """Whether it competes on the terms of all. If not (an oracle that knows more, another lower
    level), it is shown in tables and figures but excluded from ranking and targets."""
    group: ClassVar[str] = ""
    """Kind of method, if any: tables and figures list the methods of a group together and draw them
    in one colour. `GROUPS` has those with a place and a colour of their own."""
    colour: ClassVar[str | None] = None
    """`#rrggbb`, where it is to differ from its group's."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Modules that `run` imports. They are loaded before the clock starts: an import takes as
    long for a budget of seconds as for one of days, and only once per process."""

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        """Whether the method can work on this task."""
        return True

    @abstractmethod
    def run(self, problem: Problem) -> None:
        """Work until done, or until the problem raises because the budget is spent."""


class Search(Method):
    """A black-box search: ask for parameters, evaluate them, tell the score.

    Every search is told the default first: it is the first trial, and its score the first one told.
    `fidelity` is the length of a trial in units of the task's standard trial. The last
    `finish` share of the budget, if any, goes to one solve at the best parameters found; with
    `trials` no more than so many are made, and what is left of the budget goes there too. With
    `grow` trials are longer where the budget is larger, see `longer`.
    """

    def __init__(
        self,
        fidelity: float = 1.0,
        finish: float = 0.0,
        trials: int | None = None,
        grow: bool = False,
    ) -> None:
        if not fidelity > 0:
            raise ValueError(f"fidelity must be positive, got {fidelity}")
        if not 0 <= finish < 1:
            raise ValueError(f"finish must be in [0, 1), got {finish}")
        if trials is not None and trials < 1:
            raise ValueError(f"trials must be at least 1, got {trials}")
        self.fidelity = fidelity
        self.finish = finish
        self.trials = trials
        self.grow = grow

    @abstractmethod
    def start(self, space: Space, rng: np.random.Generator) -> None:
        """Make the optimiser; called once per run, before the first `ask`."""

    @abstractmethod
    def ask(self) -> Params | None:
        """The next parameters to try, or None if all were; called after the default's score was
        told."""

    def tell(self, params: Params, score: float) -> None:
        """Learn the score (a loss) of the default, and then of what was last asked for."""

    def run(self, problem: Problem) -> None:
        self.search(problem, 1 - self.finish)
        if problem.incumbent is not None:
            problem.develop(problem.incumbent)

    def search(self, problem: Problem, until: float) -> None:
        """Evaluate and tell, the default first, `until` a share of the budget is used or `trials`
        are made."""
        self.start(problem.space, problem.rng)
        worst, fidelity = 0.0, self.fidelity
        for trial in count() if self.trials is None else range(self.trials):
            before = problem.progress
            if before >= until:
                return
            params = self.ask() if trial else problem.space.default
            if params is None:
                return
            score = problem.evaluate(params, fidelity)
            if self.grow and not trial:
                factor = longer((until - before) / (problem.progress - before))
                if factor > 1:  # the default's score of another length would not compare
                    fidelity *= factor
                    score = problem.evaluate(params, fidelity)
            if math.isfinite(score):
                worst = max(worst, score)
            self.tell(params, score if math.isfinite(score) else worst)


def longer(possible: float) -> float:
    """Factor of the length of trials, where the budget would pay for `possible` of them.

    Beyond `TRIALS` both their number and their length grow as the square root of the budget, so
    that more budget buys both a wider search and scores closer to those of whole solves.
    """
    return math.sqrt(max(possible / TRIALS, 1.0))


PLAIN: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((float, int), "a number"),
    str: ((str,), "a text"),
}
"""Types of settings, with those of values that fit, and their name in words."""


def settings(kind: type[Settings], values: Mapping[str, Any] | None) -> Settings:
    """The dataclass `kind` with these fields, as a suite file names them.

    Raises ValueError for a name that is none of its fields, with the nearest one, and for a value
    of another type, where that is a switch, a number or a text.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    types = get_type_hints(kind)
    for name, value in (values or {}).items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"unknown setting {name!r}; {hint}")
        if types[name] in PLAIN:
            fitting, right = PLAIN[types[name]]
            if type(value) not in fitting:
                raise ValueError(f"{name} must be {right}, got {value!r}")
    return kind(**(values or {}))
