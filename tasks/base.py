"""The contract of a task: one bilevel problem of tuning a diffusion model.

A task owns a search space for the upper level, a lower-level solver (`iterate`), the score
that a tuner may see (`score`: selection split, few samples) and the metrics that figures
show (`evaluate`: fresh seeds, many samples, held-out reference). A task family adds the
oracles that a first-order method needs, named by a protocol (`tasks.oracles`); see
`tasks.finetune.base` and `tasks.schedule.base`.

Every primitive operation (a training step, a denoising step, a batch of rewards) runs inside
`self.meter.charge(...)`: the harness injects its clock there, and ends a run between two
primitives when the budget is spent.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from tasks.assets.asset import Asset
from tasks.oracles import Oracles
from tasks.space import Params, Space

REFERENCES = Path(__file__).parent / "references.json"
"""Reference scores with how they were made; see `Task.references`."""
LANDSCAPES = Path(__file__).parent / "landscapes"
"""Metrics and samples along the search space of a task; see `Task.landscape`."""


class Meter(Protocol):
    """The meter that a task reports its work to."""

    def charge(self, operation: str, count: int = 1, **work: int) -> AbstractContextManager[None]:
        """Account for `count` units of the primitive `operation` done inside the context.

        `count` is the unit of the operation's price (a batch size, a number of steps), so the
        cost of a charge must be close to linear in it. `work` adds machine-independent
        counts: `nfe` (network evaluations: samples x denoising steps), `train_images`
        (images seen in training), `scored_images` (images through a reward or metric).
        """
        ...


class FreeMeter:
    """Charges nothing: the meter of a task used outside the harness."""

    def charge(self, operation: str, count: int = 1, **work: int) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True)
class Metric:
    """A reported quantity; values are stored the natural way round, never negated."""

    name: str
    label: str
    higher_is_better: bool = False
    log: bool = False
    """Draw and average on a log scale (positive metrics such as FID)."""
    confirms: bool = False
    """Whether it measures the same as the primary metric in another way that no method optimises: a
    lead in the primary metric that is not there too is called no win."""

    @property
    def title(self) -> str:
        """The label, with an arrow towards better values."""
        return f"{self.label} {'↑' if self.higher_is_better else '↓'}"


@dataclass
class Candidate:
    """A solution of the lower level at `params`, which can be scored and shown."""

    params: Params
    state: Any = None
    """Whatever the task needs to score it (generated rewards, network weights)."""
    resume: dict[str, Any] | None = None
    """Tensors, numbers and strings from which `iterate` goes on; None if it cannot."""
    shown: dict[str, float] = field(default_factory=dict)
    """Finite numbers of `state` that are recorded and drawn beside `params`. A name
    `ROLE: VARIABLE` is drawn on that variable's scale."""


class Task(ABC):
    """One bilevel problem. Constructing a task is free; `setup` loads data and models."""

    name: ClassVar[str]
    """`family/dataset`, e.g. `finetune/digits`."""
    description: ClassVar[str]
    citation: ClassVar[str]
    family: ClassVar[str]
    space: ClassVar[Space]
    metrics: ClassVar[tuple[Metric, ...]]
    """The metrics that `evaluate` returns; the first one is the task's primary metric."""
    final_metrics: ClassVar[tuple[Metric, ...]] = ()
    """The metrics that `evaluate_final` returns."""
    budget: ClassVar[float]
    """Default budget of one run in GPU-hours."""
    fidelities: ClassVar[bool] = False
    """Whether a fraction of a trial says something about the whole (multi-fidelity search)."""
    oracles: ClassVar[type] = Oracles
    """The protocol of what a method may call of a task of this family."""
    files: ClassVar[tuple[Path, ...]] = ()
    """Files of the user that decide, beside the one that defines it, what its work costs."""
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    """Allowed values of `precision`."""
    precision: str = "float32"
    """Number format of the charged network evaluations; set before `setup`. "float32" leaves a task
    its own format; one that chooses by the device says so in its `evaluator`."""

    folder: Path | None = None
    """Where the next solve may leave files, which need not exist; set before each in a run."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.meter: Meter = FreeMeter()

    @classmethod
    def assets(cls) -> tuple[Asset, ...]:
        """Weights and data to have before `setup`, those that others are made from first."""
        return ()

    @classmethod
    def unavailable(cls) -> str | None:
        """Why the task cannot run here (what to fetch and where to put it), or None. Quick."""
        return "; ".join(filter(None, (asset.missing() for asset in cls.assets()))) or None

    def setup(self) -> None:  # noqa: B027 - optional
        """Load data and pre-trained models. Not charged."""

    def warm_up(self) -> None:
        """Run the lower level for a moment: what libraries load and compile on first use is no
        method's doing. Called once per process, not charged."""
        for candidate in self.iterate(self.space.default, (1e-3,), 0):
            self.score(candidate, 0)

    @abstractmethod
    def iterate(
        self,
        params: Params,
        stops: Sequence[float],
        seed: int,
        progress: Callable[[], float] | None = None,
        resume: dict[str, Any] | None = None,
    ) -> Iterator[Candidate]:
        """Solve the lower level at `params`, yielding a candidate at each of `stops`.

        `stops` are increasing and positive. Without `progress` a stop is a fidelity: 1.0 is
        the task's standard trial length, and the work done is a function of `stops` and
        `seed` alone. With `progress` (increasing from 0 to 1, read before each primitive
        step) a stop is a value of it, and a plan that needs a horizon (learning-rate decay)
        follows it. The solver plans for `stops[-1]` as its horizon. `resume` is the `resume`
        of an earlier candidate of the same call: the iteration goes on from there, and stops
        already passed are not yielded again.
        """

    @abstractmethod
    def score(self, candidate: Candidate, seed: int) -> float:
        """The loss a tuner may see (lower is better): selection split, few samples."""

    @abstractmethod
    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        """All of `metrics`, on the report split with fresh seeds. Called by the harness."""

    def evaluate_final(self, candidate: Candidate, seed: int) -> dict[str, float]:
        """All of `final_metrics`: what is too dear to measure along a curve, of the last report of
        a run alone."""
        return {}

    def check(self, candidate: Candidate) -> None:
        """Raise ValueError, naming it, if a setting in `candidate` lies outside the space."""
        self.space.validate(candidate.params)

    def for_evaluation(self) -> Task:
        """The task that the harness evaluates with, called after `setup`: it shares loaded data and
        frozen networks with this one, and what is set on either is not set on the other."""
        return copy.copy(self)

    def images(self, candidate: Candidate, count: int, seed: int) -> np.ndarray | None:
        """`(count, height, width)` or `(count, height, width, 3)` uint8 samples, or None."""
        return None

    def evaluator(self) -> dict[str, Any]:
        """Identity of the metrics: sample sizes, feature networks and their hashes. Called
        after `setup`."""
        return {}

    @classmethod
    def references(cls) -> dict[str, dict[str, float]]:
        """Stored metric values of two reference runs, `default` and `tuned`; empty if none."""
        stored = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {}
        found: dict[str, dict[str, float]] = stored.get(cls.name, {}).get("scores", {})
        return found

    @classmethod
    def landscape(cls) -> dict[str, Any] | None:
        """Stored metrics along one strength shared by all variables; None if not stored.

        `points` (`lambda` and every metric) with `seed`, `evaluator` and `made_by`, and
        `strip`: None, or the `lambdas` of its columns, its `rows` and its `image` (a path).
        """
        return stored_landscape(cls.name)

    def rehearse(self, seed: int) -> None:
        """Run every primitive operation once or more, so that a calibration can price it.

        The default solves a tenth of a trial and scores it; a family adds its oracles.
        """
        for candidate in self.iterate(self.space.default, (0.1,), seed):
            self.score(candidate, seed)


def stored_landscape(name: str) -> dict[str, Any] | None:
    """`Task.landscape` of the task called `name`, without importing it (or torch)."""
    file = LANDSCAPES / f"{name.replace('/', '-')}.json"
    if not file.exists():
        return None
    stored: dict[str, Any] = json.loads(file.read_text())
    if stored["strip"]:
        stored["strip"]["image"] = str(file.with_suffix(".png"))
    return stored
