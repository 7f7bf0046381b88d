"""Generative bilevel optimisation of entropy strengths (arXiv 2502.08808, Algorithm 2).

One run follows the first-order hypergradient instead of comparing trials. With samples of the
current guided model at hand, the paper's penalty gradient has the limit

    dF / dlog(lambda) = Cov(r1, r2) / lambda            (tasks.finetune.estimators, eq. 3)

Measured in the objective's own spread, sd(r1), and in the length that the law moves per unit
of log lambda, sd(r2) / lambda (the root of its Fisher information), this gradient is the
correlation of the two rewards: a step that needs no tuning to the scale of either. Each
iteration draws one small batch around the current lambda, so images that a search would spend
on poor settings all go to refining a good one.

(3) holds for the ideal tilted law; a real guided sampler leaves it, most of all by artefacts
that no covariance can see. So each batch is drawn half a little above and half a little below
lambda, from the same noise: the difference of the two mean rewards is an unbiased slope of
the real sampler, too noisy to steer by but, averaged over the run, good enough to correct the
low-noise covariance for its bias, at no extra cost in images.

With one lambda per class (`lambda_0`, `lambda_1`, ...) the classes are independent, and every
batch gives each class its own gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Problem
from tasks.base import Candidate
from tasks.finetune.base import FinetuneTask
from tasks.finetune.estimators import Moments, moments
from tasks.finetune.rewards import Rewards
from tasks.space import Params, Space

REPORT_SPACING = 0.03
"""Share of the budget between two reports."""
AVERAGING = 3
"""Power of the polynomial-decay average (Shamir & Zhang, 2013, arXiv 1212.1824): the average
at iteration i is centred on the last quarter of the iterations."""
CORRECTION_LIMIT = 0.5
"""Largest bias correction: it may move the root, but where the rewards are clearly correlated,
as they are far from the optimum, the covariance decides the direction."""
PRIOR = 20
"""Iterations for which the bias correction is held back towards zero."""


@dataclass(frozen=True)
class Options:
    """Settings of the ascent; rewards may have any scale."""

    batch: int = 200
    """Guided samples per iteration."""
    rate: float = 0.8
    """First step in log lambda at full correlation."""
    decay: float = 20.0
    """Iterations after which steps have shrunk to 1 / sqrt(2)."""
    spread: float = 0.25
    """Distance in log lambda of the two halves of a batch from its centre; 0 draws the whole
    batch at the centre and corrects nothing."""
    trust: float = 1.0
    """Bound on how far one step may strengthen the tilt, in standard deviations of r2 / lambda:
    the next law then still overlaps the samples that the step was computed from."""


@dataclass
class _State:
    """Where the ascent stands: what a checkpoint holds."""

    position: Tensor
    """Natural logarithms of the strengths, float64 `(groups,)`."""
    average: Tensor
    bias: Tensor
    """Averaged slope of the real sampler less the correlation, `(groups,)`."""
    score: float = 0.0
    """Average loss of the batches, weighted as `average` is, one step behind it."""
    iteration: int = 0
    reported: float = -1.0
    """Progress at the last report."""

    @classmethod
    def start(cls, space: Space) -> _State:
        position = torch.tensor(list(space.default.values()), dtype=torch.float64).log()
        return cls(position, position.clone(), torch.zeros_like(position))


def run(problem: Problem, options: Options | None = None) -> None:
    """Ascend E[r1] from the space's default until the problem raises."""
    options = options or Options()
    task, space = problem.task, problem.space
    assert isinstance(task, FinetuneTask)
    restored = problem.restored
    state = _State.start(space) if restored is None else _State(**restored)
    while True:
        problem.checkpoint(vars(state))
        progress = problem.progress
        if progress >= state.reported + REPORT_SPACING:
            state.reported = progress
            candidate = Candidate(_params(space, state.average))
            problem.report(candidate, state.score if state.iteration else None)
        halves = _draw(task, space, state, options, problem.seed("guided", state.iteration))
        _advance(state, halves, options)
        state.position = state.position.clamp(*_bounds(space))


def _draw(
    task: FinetuneTask, space: Space, state: _State, options: Options, seed: int
) -> list[Rewards]:
    """One batch: halves above and below the position from the same noise, or one whole."""
    offsets = (options.spread, -options.spread) if options.spread else (0.0,)
    count = options.batch // len(offsets)
    return [task.guided(_params(space, state.position + x), count, seed) for x in offsets]


def _advance(state: _State, halves: list[Rewards], options: Options) -> None:
    """One step in log lambda; gradients are of the loss -E[r1]."""
    strength = state.position.exp()
    batch = _moments(Rewards.concatenate(halves), state)
    unit = batch.upper_spread * batch.lower_spread / strength
    gradient = batch.covariance / strength / unit
    if len(halves) == 2:
        above, below = (_moments(half, state).upper for half in halves)
        error = (below - above) / (2 * options.spread) / unit - gradient
        state.bias = torch.lerp(state.bias, _finite(error), _weight(state.iteration + PRIOR))
    rate = options.rate / (1 + state.iteration / options.decay) ** 0.5
    correction = state.bias.clamp(-CORRECTION_LIMIT, CORRECTION_LIMIT)
    step = -rate * (_finite(gradient) + correction)
    furthest = -torch.log1p(options.trust * strength / batch.lower_spread)
    state.position = state.position + torch.maximum(step, furthest.nan_to_num(-math.inf))
    state.average = torch.lerp(state.average, state.position, _weight(state.iteration))
    state.score += _weight(state.iteration) * (-batch.upper.nanmean().item() - state.score)
    state.iteration += 1


def _weight(iteration: int) -> float:
    """Weight of the newest value in the polynomial-decay average."""
    return (AVERAGING + 1) / (AVERAGING + 1 + iteration)


def _moments(rewards: Rewards, state: _State) -> Moments:
    return moments(rewards.upper, rewards.lower, rewards.group, len(state.position))


def _finite(values: Tensor) -> Tensor:
    """Zero where rewards are constant or a class is missing: nothing to follow there."""
    return values.nan_to_num(0.0, 0.0, 0.0)


def _bounds(space: Space) -> tuple[Tensor, Tensor]:
    ends = [(variable.low, variable.high) for variable in space.variables]
    low, high = torch.tensor(ends, dtype=torch.float64).log().T
    return low, high


def _params(space: Space, position: Tensor) -> Params:
    """Strengths at log positions, kept in the box."""
    return {
        variable.name: min(max(value, variable.low), variable.high)
        for variable, value in zip(space.variables, position.exp().tolist(), strict=True)
    }
