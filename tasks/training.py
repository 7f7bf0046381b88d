"""Tasks whose lower level is the training of a network: a solve is a training.

A method that trains networks in its own order (population-based training, a single run that
tunes as it trains) needs four oracles of such a task and may then work on any family of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tasks.base import Candidate, Task
from tasks.oracles import Oracles
from tasks.schedule.training import Training
from tasks.space import Params


@runtime_checkable
class TrainingOracles(Oracles, Protocol):
    """What a method may call of any task that trains; `TrainingTask` documents the members."""

    def begin(self, seed: int) -> Training: ...

    def condition(self, params: Params) -> Tensor: ...

    def train_step(self, training: Training, condition: Tensor, fraction: float, /) -> object: ...

    def candidate(self, net: nn.Module, params: Params) -> Candidate: ...


class TrainingTask(Task):
    """A lower level that is trained from a seeded start for as many steps as there are."""

    fidelities = True
    trial_steps: ClassVar[int]
    """Training steps of the standard trial."""

    @abstractmethod
    def begin(self, seed: int) -> Training:
        """The state before the first training step; the same seed gives the same start. A copy of
        a training is `copy.deepcopy` of it, or a `load_state_dict` into another one."""

    @abstractmethod
    def condition(self, params: Params) -> Tensor:
        """What a training step at `params` is told of them."""

    @abstractmethod
    def train_step(self, training: Training, condition: Tensor, fraction: float, /) -> object:
        """One training step under `condition`, `fraction` of the horizon being over. Charged."""

    @abstractmethod
    def candidate(self, net: nn.Module, params: Params) -> Candidate:
        """A deliverable: a copy of the weights of `net`, trained under `params`."""

    def generator(self, seed: int) -> torch.Generator:
        """A seeded generator on the task's device."""
        return torch.Generator(self.device).manual_seed(seed)

    def iterate(
        self,
        params: Params,
        stops: Sequence[float],
        seed: int,
        progress: Callable[[], float] | None = None,
        resume: dict[str, Any] | None = None,
    ) -> Iterator[Candidate]:
        """Train under `params`; a candidate has the averaged weights, and can be resumed from."""
        training = self.begin(seed)
        passed = 0.0
        if resume is not None:
            training.load_state_dict(resume["training"])
            passed = resume["stop"]

        def position() -> float:
            return training.step / self.trial_steps if progress is None else progress()

        condition = self.condition(params)
        for stop in stops:
            if stop <= passed:
                continue
            while (now := position()) < stop:
                self.train_step(training, condition, now / stops[-1])
            candidate = self.candidate(training.ema, params)
            candidate.resume = {"training": training.state_dict(), "stop": stop}
            yield candidate
