"""Gradients of the upper level with respect to the entropy strength, from samples.

The lower level tilts the pre-trained law by a reward r2 at entropy strength lambda, and the
upper level wants a second reward r1 of the result (Xiao et al., ICML 2025, arXiv 2502.08808):

    (1)  p_lambda ∝ p_data · exp(r2 / lambda)  minimises  -E_p[r2] + lambda · KL(p ‖ p_data)
    (2)  F(lambda) = -E_{p_lambda}[r1]
    (3)  dF/dlambda = +Cov_{p_lambda}(r1, r2) / lambda²
    (4)  dL_gamma/dlambda = gamma · (KL(p_z ‖ p_data) - KL(p_y ‖ p_data)),
         p_y = p_lambda,  p_z ∝ p_data · exp((r2 + r1 / gamma) / lambda)

(4) is the paper's penalty form, exact for every gamma > 0; it tends to (3) as gamma grows.
Since L_gamma = F - Var_{p_lambda}(r1) / (2 gamma lambda) + O(1 / gamma²), its root is off the
optimum by O(1 / gamma): below it where Var(r1) / lambda falls with lambda, as in the usual
Gaussian examples, above it where a stronger tilt removes modes and so most of Var(r1). In
float32 the difference of the two KLs cancels, at a cost of 5 % of the gradient at gamma = 1e4
and of all of it at 1e6: use (3) there.

Every expectation over a tilted law is self-normalised and taken in the log domain
(`tasks.finetune.importance`), so that small lambda cannot overflow.

Rewards and lambda share one unit, whatever the reward is measured in; KL is in nats. All
functions keep the dtype of their arguments and are differentiable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.finetune.importance import (
    effective_sample_size,
    log_partition,
    log_weights,
    tilt_divergence,
)


def covariance(upper: Tensor, lower: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """Cov(r1, r2) of rewards `(n,)` each: unbiased for equally weighted samples (None),
    the plug-in value under normalised `log_weights`.

    Raises ValueError for fewer than two equally weighted samples.
    """
    if log_weights is None:
        if len(upper) < 2:
            raise ValueError(f"a covariance needs two samples or more, got {len(upper)}")
        return (upper - upper.mean()) @ (lower - lower.mean()) / (len(upper) - 1)
    weights = log_weights.exp()
    return weights @ ((upper - weights @ upper) * (lower - weights @ lower))


def covariance_gradient(upper: Tensor, lower: Tensor, strength: float) -> Tensor:
    """dF/dlambda by (3) from samples of the tilted law itself.

    `upper` and `lower` are the rewards r1, r2 `(n,)` of samples at lambda = `strength`.
    Multiply by `strength` for the derivative in log lambda.
    """
    return covariance(upper, lower) / strength**2


@dataclass(frozen=True)
class Moments:
    """Moments of r1 ("upper") and r2 ("lower") in each group of samples, `(groups,)` each."""

    upper: Tensor
    upper_spread: Tensor
    lower_spread: Tensor
    """Standard deviations."""
    covariance: Tensor


def moments(upper: Tensor, lower: Tensor, group: Tensor | None, groups: int) -> Moments:
    """Moments of rewards `(n,)` of classes `group` `(n,)` long, for `groups` strengths: one for
    each class 0..groups-1, or a single one for all.

    (3) holds class by class, since each class is tilted by itself. A strength that classes share
    has the mean of their covariances as its gradient; how their means differ has no part in it.
    NaN where no class of a strength has two samples; computed in float64. Raises ValueError for
    several strengths without `group`.
    """
    if groups > 1 and group is None:
        raise ValueError(f"{groups} groups asked of samples that are not grouped")
    classes = torch.zeros(len(upper), dtype=torch.long) if group is None else group.cpu()
    first, second = upper.double().cpu(), lower.double().cpu()
    members = torch.nn.functional.one_hot(classes, groups if groups > 1 else -1).double().T
    owners = members if groups > 1 else members.sum(dim=0, keepdim=True)
    lost = owners @ (1 / members.sum(dim=1))[classes]  # a degree of freedom for each class
    degrees = owners.sum(dim=1) - lost
    degrees = torch.where(degrees > 0.5, degrees, math.nan)

    def centred(values: Tensor) -> Tensor:
        return values - (members @ values / members.sum(dim=1))[classes]

    upper_mean = owners @ first / owners.sum(dim=1)
    first, second = centred(first), centred(second)
    return Moments(
        upper=upper_mean,
        upper_spread=(owners @ first**2 / degrees).sqrt(),
        lower_spread=(owners @ second**2 / degrees).sqrt(),
        covariance=owners @ (first * second) / degrees,
    )


def pool_gradient(
    upper: Tensor, lower: Tensor, strength: float, base: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """dF/dlambda by (3) from samples of the *untilted* law, reweighted to lambda = `strength`.

    Returns the gradient and the share of effective samples in (0, 1]. With all samples from
    the untilted law the estimate is good while sd(r2) <= lambda; at twice that even its sign
    is in doubt, and it collapses to zero as a single sample takes all the weight. Only
    samples of other strengths among them would repair that.
    """
    weights = log_weights(lower / strength, base)
    gradient = covariance(upper, lower, weights) / strength**2
    return gradient, effective_sample_size(weights) / len(weights)


def penalty_gradient(
    upper: Tensor, lower: Tensor, strength: float, gamma: float, base: Tensor | None = None
) -> Tensor:
    """dL_gamma/dlambda by (4) from samples of the untilted law, rewards `(n,)` each.

    Raises ValueError unless `gamma` is positive.
    """
    _check_positive(gamma)
    y = tilt_divergence(lower / strength, base)
    z = tilt_divergence((lower + upper / gamma) / strength, base)
    return gamma * (z - y)


def published_gradient(
    upper: Tensor, lower: Tensor, strength: float, gamma: float, base: Tensor | None = None
) -> Tensor:
    """The estimator of the paper's released code, kept to compare with: not a gradient of (2).

    It equals gamma · (KL(p_data ‖ p_z) - KL(p_data ‖ p_y)), the divergences of (4) the other
    way round: right to leading order at large lambda only, with its zero where E[r1] has
    fallen back to its pre-trained level instead of at the maximum.
    """
    mean = upper.mean() if base is None else base.exp() @ upper
    y = log_partition(lower / strength, base)
    z = log_partition((lower + upper / gamma) / strength, base)
    return gamma * (z - y) - mean / strength


def published_path_gradient(penalised: Tensor, lower: Tensor, gamma: float) -> Tensor:
    """The second estimator of the paper's released code, kept to compare with: not (4) either.

    `penalised` and `lower` `(steps, n)` are the norms of the guidance gradients that led `n`
    samples towards r2 + r1 / gamma and towards r2, one per denoising step. Each mean is taken
    for twice a divergence, whose difference times gamma would be (4):

        gamma · (mean of penalised - mean of lower) / 2

    Girsanov's theorem, which this follows in spirit, has half the *squared* norm, multiplied
    by constants of each step and summed over the steps. Without them the scale depends on
    the sampler, and without the square the estimate knows the sign of r2's slope but not its
    size: for two linear rewards it is the same however strong r2 is.

    Raises ValueError unless `gamma` is positive, and for norms of different or empty shapes.
    """
    _check_positive(gamma)
    if penalised.shape != lower.shape or penalised.numel() == 0:
        shapes = f"{tuple(penalised.shape)} and {tuple(lower.shape)}"
        raise ValueError(f"norms must have one shape, with steps and samples; got {shapes}")
    return gamma * (penalised.mean() - lower.mean()) / 2


def _check_positive(gamma: float) -> None:
    if not gamma > 0:
        raise ValueError(f"gamma must be positive, got {gamma}")
