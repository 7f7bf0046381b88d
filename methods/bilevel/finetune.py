"""Generative bilevel optimisation of entropy strengths (arXiv 2502.08808, Algorithm 2).

One run follows the first-order hypergradient instead of comparing trials. It starts from a
small pool of samples of the pre-trained model, which need no guidance and are two to five times
cheaper: reweighted to any lambda, they show E[r1] as far down as their effective sample size
reaches, and the ascent begins at the lambda in reach whose gain exceeds its standard error by
most. From there on every iteration draws one small batch of the *current guided* model. With
such samples at hand, the paper's penalty gradient has the limit

    dF / dlog(lambda) = Cov(r1, r2) / lambda            (tasks.finetune.estimators, eq. 3)

Measured in the objective's own spread, sd(r1), and in the length that the law moves per unit
of log lambda, sd(r2) / lambda (the root of its Fisher information), this gradient is the
correlation of the two rewards: a step that needs no tuning to the scale of either.

(3) holds for the ideal tilted law; a real guided sampler leaves it, most of all by artefacts
that no covariance can see. So each batch is drawn half above and half below lambda, from the
same noise: the difference of the two mean rewards is a slope of the real sampler, too noisy to
steer by but, averaged over the run, good enough to correct the low-noise covariance for its
bias, at no extra cost in images. Both slopes are compared in 1 / lambda, the strength of the tilt
itself: an artefact that grows with it in proportion has one slope wherever it was measured, so
that what was averaged on the way holds at the end of it. The correction has no bound; it is held
back by as much of it as may be noise (`_known_bias`), which leaves a bias towards the
covariance's root that goes away with the number of iterations. The distance of the halves
shrinks as the run goes on (its square is a bias of the slope), and batches grow (the noise of few
samples does not average out of a ratio).

With one lambda per class (`lambda_0`, `lambda_1`, ...) every batch gives each class its own
gradient. Classes start from one strength that all samples choose, and their gradients are drawn
towards the mean as far as chance explains their scatter: classes that are alike share what they
know. Which half of a class lies above is drawn at random, so that where classes share a
reward the others' changes average out (simultaneous perturbation: Spall, 1992).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base import Problem
from tasks.base import Candidate
from tasks.finetune.base import FinetuneOracles
from tasks.finetune.estimators import Moments, moments
from tasks.finetune.rewards import Rewards
from tasks.space import Params, Space

AVERAGING = 3
"""Power of the polynomial-decay averages (Shamir & Zhang, 2013, arXiv 1212.1824): the average
at iteration i is centred on the last quarter of the iterations."""
GROWTH = 20
"""Iterations after which a batch has twice its first size."""
POOL_CREDIT = 10
"""So many pool samples of a group count as one iteration already made."""
REACH = 0.5
"""Share of effective samples down to which a reweighted pool is trusted."""
LEVELS = 81
"""Strengths at which a reweighted pool is looked at."""


@dataclass(frozen=True)
class Options:
    """Settings of the ascent; rewards may have any scale."""

    pool: int = 100
    """Samples of the pre-trained model to begin with, at least 20 a group; 0 for none."""
    batch: int = 200
    """Guided samples in the first iteration, at least 10 a group."""
    rate: float = 0.8
    """First step in log lambda at full correlation."""
    decay: float = 10.0
    """Iterations after which steps have shrunk to 1 / sqrt(2)."""
    spread: float = 0.3
    """Distance in log lambda of the first batch's halves from its centre; 0 draws all batches
    at the centre and corrects nothing."""
    trust: float = 1.0
    """Bound on how far one step may strengthen the tilt, in standard deviations of r2 / lambda:
    the next law then still overlaps the samples that the step was computed from."""

    def __post_init__(self) -> None:
        for name in ("batch", "rate", "decay", "trust"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("pool", "spread"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass
class _State:
    """Where the ascent stands: what a checkpoint holds. Tensors are float64 `(groups,)`."""

    position: Tensor
    """Natural logarithms of the strengths."""
    average: Tensor
    upper_variance: Tensor
    """Averages of Var(r1), and of Var(r2) / lambda²."""
    lower_variance: Tensor
    bias: Tensor
    """Averages of the real sampler's slope less the covariance's, and of its square; slopes in
    1 / lambda, in which an artefact in proportion to the tilt is the same at every lambda."""
    squared_bias: Tensor
    credit: float = 0.0
    """Iterations that the pool stands for."""
    score: float = 0.0
    """Average loss of the batches, weighted as `average` is, one step behind it."""
    iteration: int = 0

    @classmethod
    def start(cls, space: Space) -> _State:
        position = torch.tensor(list(space.default.values()), dtype=torch.float64).log()
        zero = torch.zeros_like(position)
        return cls(position, position.clone(), zero, zero.clone(), zero.clone(), zero.clone())

    @property
    def groups(self) -> int:
        return len(self.position)


def run(problem: Problem, options: Options | None = None) -> None:
    """Ascend E[r1] from the space's default until the problem raises."""
    options = options or Options()
    task, space = problem.oracles, problem.space
    assert isinstance(task, FinetuneOracles)
    restored = problem.restored
    if restored is None:
        state = _State.start(space)
        problem.report(Candidate(_params(space, state.average)))
        if options.pool:
            _begin_from_pool(state, task, space, options, problem.seed("pool"))
    else:
        state = _State(**restored)
    while True:
        problem.checkpoint(vars(state))
        score = state.score if state.iteration else None
        problem.report(Candidate(_params(space, state.average)), score)
        seed = problem.seed("guided", state.iteration)
        spread, sides = _perturbation(state, options, seed)
        halves = _draw(task, space, state, options, spread * sides, seed)
        _advance(state, halves, spread, sides, options)
        state.position = state.position.clamp(*_bounds(space))


def _begin_from_pool(
    state: _State, task: FinetuneOracles, space: Space, options: Options, seed: int
) -> None:
    """Move to strengths that samples of the pre-trained model show to be better.

    First one step for all groups together, which has all samples to judge by; then each group
    goes on from there, as far as its own samples show.
    """
    size = max(options.pool, 20 * state.groups)
    pool = task.pool(size, seed)
    low, high = _bounds(space)
    levels = torch.linspace(float(low.max()), float(high.min()), LEVELS, dtype=torch.float64)
    state.position[:] = better_in_reach(pool, levels, state.position.mean())
    for group in range(state.groups) if state.groups > 1 else ():
        own = pool.of_group(group)
        state.position[group] = better_in_reach(own, levels, state.position[group])
    state.average = state.position.clone()
    state.credit = size / state.groups / POOL_CREDIT


def better_in_reach(pool: Rewards, levels: Tensor, start: Tensor) -> Tensor:
    """The log strength among `start` and `levels` whose gain in E[r1] over `start`, on the same
    samples, each class reweighted by itself, exceeds its standard error by most."""
    levels = torch.cat([start[None], levels])
    upper, lower = pool.upper.double().cpu(), pool.lower.double().cpu()
    weights, surplus = torch.empty(2, len(levels), len(upper), dtype=torch.float64)
    members = pool.members()
    for member in members:
        weights[:, member] = torch.softmax(lower[member] / levels.exp()[:, None], 1) / len(members)
        mean = weights[:, member] @ upper[member] * len(members)
        surplus[:, member] = upper[member] - mean[:, None]
    gain = weights @ upper - weights[0] @ upper
    parts = weights * surplus
    error = (parts - parts[0]).square().sum(dim=1).sqrt()
    share = 1 / weights.square().sum(dim=1) / len(upper)
    known = torch.where(share >= REACH, gain - error, -math.inf)
    known[0] = 0.0  # ties, as of a reward that all samples have, change nothing
    return levels[known.argmax()]


def _perturbation(state: _State, options: Options, seed: int) -> tuple[float, Tensor]:
    """Distance of the halves from the centre, and the side (+1, -1) of each group's first."""
    spread = options.spread / (1 + state.iteration / GROWTH) ** (1 / 6)
    generator = torch.Generator().manual_seed(seed)
    sides = torch.randint(2, (state.groups,), generator=generator).double() * 2 - 1
    return spread, sides


def _draw(
    task: FinetuneOracles, space: Space, state: _State, options: Options, offset: Tensor, seed: int
) -> list[Rewards]:
    """One batch: halves on either side of the position from the same noise, or one whole."""
    first = max(options.batch, 10 * state.groups)
    size = round(first * (1 + state.iteration / GROWTH))
    if not options.spread:
        return [task.guided(_params(space, state.position), size, seed)]
    sides = [_params(space, state.position + x) for x in (offset, -offset)]
    half = math.ceil(max(size // 2, 2) / task.lot) * task.lot
    return task.guided_each(sides, half, seed)


def _advance(
    state: _State, halves: list[Rewards], spread: float, sides: Tensor, options: Options
) -> None:
    """One step in log lambda; gradients are of the loss -E[r1]."""
    strength = state.position.exp()
    batch = _moments(Rewards.concatenate(halves), state)
    spread_of_tilt = batch.lower_spread / strength
    newest = _weight(state.iteration)
    state.upper_variance = _mixed(state.upper_variance, batch.upper_spread**2, newest)
    state.lower_variance = _mixed(state.lower_variance, spread_of_tilt**2, newest)
    unit = (_shrunk(state.upper_variance) * _shrunk(state.lower_variance)).sqrt()
    slope = batch.covariance / strength
    if len(halves) == 2:
        first, second = (_moments(half, state).upper for half in halves)
        error = (sides * (second - first) / (2 * spread) - slope) * strength
        state.bias = _mixed(state.bias, error, newest)
        state.squared_bias = _mixed(state.squared_bias, error**2, newest)
    correction = _finite(_known_bias(state) / strength / unit)
    samples = sum(map(len, halves)) / state.groups
    correlation = _towards_mean(_finite(slope / unit), samples)
    gradient = (correlation + correction).clamp(-1, 1)
    step = -options.rate * gradient / (1 + (state.iteration + state.credit) / options.decay) ** 0.5
    furthest = -torch.log1p(options.trust / spread_of_tilt)
    state.position = state.position + torch.maximum(step, furthest.nan_to_num(-math.inf))
    settled = _weight(state.iteration + state.credit)
    state.average = torch.lerp(state.average, state.position, settled)
    state.score += newest * (-batch.upper.nanmean().item() - state.score)
    state.iteration += 1


def _towards_mean(correlations: Tensor, samples: float) -> Tensor:
    """Correlations `(groups,)` of so many samples each, drawn towards their mean by the share of
    their scatter that chance explains (positive-part James-Stein; four groups or more)."""
    groups, mean = len(correlations), correlations.mean()
    if groups < 4:
        return correlations
    chance = (1 - mean**2) / samples
    scatter = (correlations - mean).square().sum() / (groups - 3)
    return mean + (1 - chance / scatter.clamp_min(1e-12)).clamp(0, 1) * (correlations - mean)


def _known_bias(state: _State) -> Tensor:
    """The averaged bias, held back by as much of it as may be noise (empirical Bayes).

    NaN after a single iteration, which cannot tell one from the other.
    """
    power = AVERAGING + 1
    samples = state.iteration * (2 * power - 1) / power**2  # as many count in the average
    noise = (state.squared_bias - state.bias**2).clamp_min(0) / torch.tensor(samples)
    return state.bias**3 / (state.bias**2 + noise)


def _weight(iteration: float) -> float:
    """Weight of the newest value in the polynomial-decay average."""
    return (AVERAGING + 1) / (AVERAGING + 1 + iteration)


def _mixed(average: Tensor, value: Tensor, weight: float) -> Tensor:
    """`average` moved towards `value`, where there is one."""
    return torch.lerp(average, torch.where(value.isfinite(), value, average), weight)


def _shrunk(variance: Tensor) -> Tensor:
    """Half of the way to the mean over groups: a group's own few samples say little."""
    return (variance + variance.mean()) / 2


def _moments(rewards: Rewards, state: _State) -> Moments:
    return moments(rewards.upper, rewards.lower, rewards.group, state.groups)


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
