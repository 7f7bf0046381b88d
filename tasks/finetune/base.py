"""The contract of a fine-tuning task (application 1 of arXiv 2502.08808).

Lower level: tilt a pre-trained diffusion model towards a reward r2 at entropy strength
lambda (reward-guided sampling; nothing is trained). Upper level: choose lambda so that the
samples score best under another reward r1. Large lambda stays with the pre-trained model,
small lambda follows r2 wherever it leads.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch

from tasks.base import Candidate, Metric, Task
from tasks.finetune.rewards import Rewards
from tasks.finetune.solvers import LOOK_AHEAD, Solver
from tasks.oracles import Oracles
from tasks.space import Params, Space, Variable

REWARD = Metric("reward", "E[r1]", higher_is_better=True)
LOWER_REWARD = Metric("lower_reward", "E[r2]", higher_is_better=True)

STRENGTH = Variable("lambda", low=0.01, high=100.0, default=10.0, log=True)
"""Ten times the unit that rewards are standardised to: a cautious setting, at which the tilt
shows but does not yet change what a typical sample looks like. The ends of the range are the
pre-trained model as it is, and guidance that overrides it."""


def per_group(groups: int) -> Space:
    """One entropy strength per class or prompt: `lambda_0`, `lambda_1`, ..."""
    return Space(tuple(replace(STRENGTH, name=f"lambda_{group}") for group in range(groups)))


@runtime_checkable
class FinetuneOracles(Oracles, Protocol):
    """What a method may call of a fine-tuning task; `FinetuneTask` documents the members."""

    samples: int
    lot: int

    def pool(self, count: int, seed: int) -> Rewards: ...

    def guided(
        self, params: Params, count: int, seed: int, solver: Solver = LOOK_AHEAD
    ) -> Rewards: ...

    def guided_each(self, points: Sequence[Params], count: int, seed: int) -> list[Rewards]: ...


class FinetuneTask(Task):
    """A pre-trained model with two rewards, and the white-box oracles `pool` and `guided`.

    The rewards r1, r2 are known functions of a sample, so there is no data for them to
    overfit: selection and report differ by fresh seeds and by the number of samples.
    """

    family = "finetune"
    oracles: ClassVar[type] = FinetuneOracles
    space = Space((STRENGTH,))
    fidelities = False  # fewer samples only make a noisier score of the same thing
    samples: ClassVar[int]
    """Guided samples in a standard trial."""
    lot: ClassVar[int] = 1
    """Guided samples are drawn in multiples of so many; what is not asked for is paid all the
    same, and dropped."""
    evaluation_samples: ClassVar[int] = 2000

    @abstractmethod
    def pool(self, count: int, seed: int) -> Rewards:
        """Rewards of `count` samples of the pre-trained model, without guidance. Charged."""

    @abstractmethod
    def guided(self, params: Params, count: int, seed: int, solver: Solver = LOOK_AHEAD) -> Rewards:
        """Rewards of `count` samples of the model guided at `params`. Charged.

        The same seed draws the same noise at any `params`.
        """

    def guided_each(self, points: Sequence[Params], count: int, seed: int) -> list[Rewards]:
        """Rewards of `count` samples at each of `points`, all from the same noise. Charged.

        One batch where a task can (which is faster than one call of `guided` after another).
        """
        return [self.guided(params, count, seed) for params in points]

    def iterate(
        self,
        params: Params,
        stops: Sequence[float],
        seed: int,
        progress: Callable[[], float] | None = None,
        resume: dict[str, Any] | None = None,
    ) -> Iterator[Candidate]:
        """Draw guided samples; a stop is a cumulative share of the trial's `samples`.

        Following a budget there is nothing to do: `params` alone are the result, more
        samples would not change them. One candidate is yielded at once, whatever `stops`.
        """
        if progress is not None:
            yield Candidate(params)
            return
        parts: list[Rewards] = []
        drawn = 0
        for stop in stops:
            wanted = max(round(stop * self.samples), 1)
            while drawn < wanted:
                count = min(wanted - drawn, self.samples)  # a long solve is drawn trial by trial
                parts.append(self.guided(params, count, child_seed(seed, len(parts))))
                drawn += count
            yield Candidate(params, state=Rewards.concatenate(parts))

    def score(self, candidate: Candidate, seed: int) -> float:
        """-E[r1] over the candidate's own samples, or over fresh ones if it has none."""
        rewards = candidate.state
        if not isinstance(rewards, Rewards):
            solver = self.solver_of(candidate)
            rewards = self.guided(candidate.params, self.samples, seed, solver)
        return -float(rewards.upper.mean())

    @staticmethod
    def solver_of(candidate: Candidate) -> Solver:
        """How the lower level of `candidate` is solved: its state if that is a solver (a method
        that brings its own delivers it so), else the task's own way."""
        if candidate.state is None or isinstance(candidate.state, Rewards):
            return LOOK_AHEAD
        solver: Solver = candidate.state
        return solver

    def check(self, candidate: Candidate) -> None:
        super().check(candidate)
        kind = type(candidate.state)
        if candidate.state is not None and not kind.__module__.startswith("tasks."):
            raise ValueError(
                f"a candidate's state must be its rewards or a solver of the tasks, got {kind!r}: "
                "what is delivered is evaluated without code of the method"
            )

    def evaluator(self) -> dict[str, Any]:
        return {"samples": self.evaluation_samples}

    def rehearse(self, seed: int) -> None:
        """A trial and the pool, in batches as large as they come in a run."""
        for candidate in self.iterate(self.space.default, (1.0,), seed):
            self.score(candidate, seed)
        self.pool(self.samples, seed)

    def generator(self, seed: int) -> torch.Generator:
        """A fresh generator on the task's device."""
        return torch.Generator(self.device).manual_seed(seed)


def strengths(params: Params) -> torch.Tensor:
    """Entropy strengths in `params` as a float tensor: `(1,)` for one shared `lambda`,
    `(groups,)` for `lambda_0, lambda_1, ...`."""
    if "lambda" in params:
        return torch.tensor([params["lambda"]])
    return torch.tensor([params[f"lambda_{group}"] for group in range(len(params))])


def child_seed(seed: int, index: int) -> int:
    """An independent 63-bit seed for part `index` of what `seed` stands for."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0] >> 1)
