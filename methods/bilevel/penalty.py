"""The gradient of noise schedules in the paper's penalty form (arXiv 2502.08808, Algorithm 6).

    dF/dq ~ dF/dq(theta_z, q) + gamma (dL/dq(theta_z; q) - dL/dq(theta_y; q)),

theta_y minimising L and theta_z minimising F / gamma + L, both continued from one state for a few
steps on the same batches. It is right on average but a single estimate is unreliable: over 8
trainings at each of four settings of the Gaussian task that played no part in choosing its options,
6, 7, 8 and 3 estimates had a cosine above 0.5 with the exact hypergradient (the last where that is
smallest), and several had the opposite sign. One estimate costs over a hundred pathwise gradients,
more than a whole run of `schedule/digits` can pay.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.schedule.oracles import ScheduleOracles
from tasks.training import Training


@dataclass(frozen=True)
class Lookahead:
    """How far theta_y and theta_z are followed before their gradients are compared."""

    steps: int
    rate: float
    """Learning rate of both, in units of the task's."""
    samples: int
    """Images per pathwise gradient of F."""


def penalty_gradient(
    task: ScheduleOracles,
    training: Training,
    position: Tensor,
    weight: float,
    lookahead: Lookahead,
    generator: torch.Generator,
) -> Tensor:
    """d/dq of F at the lower level's answer to q: `(d,)`, in coordinates of the unit cube.

    `position` is q there, `(d,)`. `weight` is the weight of F beside L, 1 / gamma in the paper's
    units; `training` is left as it was.
    """
    lower, joint = copy.deepcopy(training), copy.deepcopy(training)
    fixed, sampled = task.training_levels(position), task.sampling_levels(position)
    rate = task.rate * lookahead.rate
    for _ in range(lookahead.steps):
        batch, noise = task.batch(generator), task.noise(lookahead.samples, generator)
        task.frechet_gradient(joint.net, sampled, noise, weight)
        for side in (lower, joint):
            task.loss_gradient(side.net, fixed, batch)
            task.update(side, rate)
    moving = position.clone().requires_grad_()
    levels = task.training_levels(moving)
    for _ in range(lookahead.steps):
        batch = task.batch(generator)
        task.loss_gradient(joint.net, levels, batch, 1 / (weight * lookahead.steps))
        task.loss_gradient(lower.net, levels, batch, -1 / (weight * lookahead.steps))
    task.frechet_gradient(
        joint.net, task.sampling_levels(moving), task.noise(lookahead.samples, generator)
    )
    assert moving.grad is not None
    return moving.grad
