"""The effect of training at a noise level on the upper level: the response of the weights, one step
deep.

A training step at log signal-to-noise ratio l moves the weights by -rate P grad L_l, P being Adam's
diagonal preconditioner, and so moves the upper level F by rate times the influence

    I(l) = -<grad F, P grad L_l>.

With levels l(u; q), u uniform on (0, 1), the rate at which F falls is the mean of I(l(u; q)), whose
gradient in q is a hypergradient that knows the response of the weights; the partial gradient
dF/dq at fixed weights knows nothing of it. Influences as a measure of what data are worth: Koh &
Liang, 2017 (arXiv 1703.04730); one step deep: Pruthi et al., 2020 (TracIn, arXiv 2002.08484).

Three things make an estimate of a few hundred images good enough to follow. All gradients are taken
at the averaged weights, for F spikes from step to step at the raw ones. All bins of levels see the
same images and noise, so that their differences are differences of the level. And the influences
count relative to their median, bounded at a few median deviations, for the noisiest bins have the
longest tails.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tasks.schedule.oracles import ScheduleOracles
from tasks.training import Training

CENTRES = (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0)
"""Levels at which influences are measured; linear in between, constant beyond."""
SIZE = 1e-3
"""Length of the steps along P grad F, on both sides, over that of the weights."""
BOUND = 3.0
"""Largest influence, in median absolute deviations from the median."""
WINDOW = 6
"""Slopes whose mean is followed, at most."""
REACH = 4.0
"""How far a step moves the training levels, at most, in their standard deviations, over its length
in the unit cube: a narrow distribution takes short steps of its location."""
NUDGE = 1e-4
"""Length of the differences by which that is measured, in the unit cube."""


def influences(
    task: ScheduleOracles,
    training: Training,
    sampling: Tensor,
    samples: int,
    batches: int,
    generator: torch.Generator,
) -> Tensor:
    """Standardised influences `(len(CENTRES),)` at the averaged weights; negative is good.

    `sampling` are the sampling levels; F is that of `samples` images. If they require a gradient,
    that of F is accumulated in what they were computed from.

    P being symmetric, I(l) is the slope of -L_l along P grad F: a difference of two losses, which
    all levels share a pass of the network for, and no gradient of any of them.
    """
    net = copy.deepcopy(training.ema).requires_grad_(True)
    task.frechet_gradient(net, sampling, task.noise(samples, generator))
    place = parameters_to_vector(net.parameters()).detach()
    direction = _preconditioned(training, _taken(net)).to(place)
    size = SIZE * place.norm() / direction.norm().clamp(min=1e-30)
    centres = torch.tensor(CENTRES, dtype=torch.float64, device=task.device)
    taken = [task.batch(generator) for _ in range(batches)]
    found = torch.zeros_like(centres)
    for sign in (-1, 1):
        vector_to_parameters(place + sign * size * direction, net.parameters())
        for batch in taken:
            found -= sign * task.losses(net, centres, batch)
    return standardised(found)


def expected(influence: Tensor, levels: Tensor) -> Tensor:
    """Mean of `influence` `(len(CENTRES),)` over training `levels` `(T,)`; differentiable in
    them. Its negative gradient is the direction in which training serves the upper level more."""
    centres = torch.tensor(CENTRES, dtype=levels.dtype, device=levels.device)
    right = torch.searchsorted(centres, levels.detach()).clamp(1, len(centres) - 1)
    width = centres[right] - centres[right - 1]
    share = ((levels - centres[right - 1]) / width).clamp(0, 1)
    return torch.lerp(influence[right - 1], influence[right], share).mean()


def entropy(levels: Tensor) -> Tensor:
    """Differential entropy, 0-d in nats, of the distribution with the quantiles `levels` `(T,)`."""
    return (len(levels) * levels.diff()).clamp(min=1e-3).log().mean()


def standardised(values: Tensor) -> Tensor:
    """`values` less their median, in median absolute deviations, bounded by `BOUND`."""
    centred = values - values.median()
    spread = centred.abs().median().clamp(min=1e-30)
    return (centred / spread).clamp(-BOUND, BOUND)


def significant(values: Sequence[Tensor], least: int = 4, errors: float = 2.0) -> Tensor:
    """Mean of repeated estimates in units of their root mean square, -1 to 1 in each coordinate;
    zero where it is within so many standard errors of zero, or for fewer than `least` estimates."""
    found = torch.stack(list(values))
    if len(found) < least:
        return torch.zeros_like(found[0])
    mean, error = found.mean(0), found.std(0) / len(found) ** 0.5
    size = found.square().mean(0).sqrt().clamp(min=1e-30)
    return torch.where(mean.abs() > errors * error, mean / size, 0.0)


def walk(position: Tensor, slopes: list[Tensor], slope: Tensor, length: float | Tensor) -> None:
    """A step of `position` `(d,)` in the unit cube against the significant mean of the last few
    `slopes`, of at most `length` in each coordinate; `slope` joins them."""
    slopes.append(slope)
    del slopes[:-WINDOW]
    position.data.sub_(length * significant(slopes)).clamp_(0, 1)


def reach(levels_at: Callable[[Tensor], Tensor], position: Tensor) -> Tensor:
    """Share of a step from `position` `(d,)` that keeps to `REACH`, `(d,)`, at most 1; `levels_at`
    gives the training levels `(T,)` at a position."""
    levels = levels_at(position)
    nudged = position + NUDGE * torch.eye(len(position)).to(position)
    moved = torch.stack([levels_at(one) for one in nudged]) - levels
    speed = moved.square().mean(1).sqrt().clamp(min=1e-9) / NUDGE
    share: Tensor = (REACH * levels.std() / speed).clamp(max=1)
    return share


def _taken(net: nn.Module) -> Tensor:
    """The accumulated gradient of `net` as one float64 vector; it is cleared."""
    parts = []
    for parameter in net.parameters():
        gradient = parameter.grad
        parts.append(torch.zeros_like(parameter) if gradient is None else gradient)
        parameter.grad = None
    return torch.cat([part.flatten() for part in parts]).double()


def _preconditioned(training: Training, gradient: Tensor) -> Tensor:
    """`gradient` times the diagonal preconditioner of the training's AdamW."""
    state, scales = training.optimiser.state, []
    for group in training.optimiser.param_groups:
        for parameter in group["params"]:
            own = state[parameter]
            unbiased = own["exp_avg_sq"] / (1 - group["betas"][1] ** float(own["step"]))
            scales.append((1 / (unbiased.sqrt() + group["eps"])).flatten())
    return gradient * torch.cat(scales).double()
