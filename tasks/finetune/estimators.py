"""Gradients of the upper level with respect to the entropy strength, from samples.

The lower level tilts the pre-trained law by a reward r2 at entropy strength lambda, and the
upper level wants a second reward r1 of the result (Xiao et al., ICML 2025, arXiv 2502.08808):

    (1)  p_lambda ∝ p_data · exp(r2 / lambda)  minimises  -E_p[r2] + lambda · KL(p ‖ p_data)
    (2)  F(lambda) = -E_{p_lambda}[r1]
    (3)  dF/dlambda = +Cov_{p_lambda}(r1, r2) / lambda²
    (4)  dL_gamma/dlambda = gamma · (KL(p_z ‖ p_data) - KL(p_y ‖ p_data)),
         p_y = p_lambda,  p_z ∝ p_data · exp((r2 + r1 / gamma) / lambda)

(4) is the paper's penalty form, exact for every gamma > 0; it tends to (3) as gamma grows,
and its root lies below the optimum by O(1 / gamma). In float32 the difference of the two
KLs cancels beyond gamma of about 1e4: use (3) there. Every expectation over a tilted law is
self-normalised and taken in the log domain, so that small lambda cannot overflow.

Rewards and lambda share one unit, whatever the reward is measured in; KL is in nats. All
functions keep the dtype of their arguments and are differentiable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def log_weights(scores: Tensor, base: Tensor | None = None) -> Tensor:
    """Self-normalised log weights `(n,)` of the law tilted by exp(scores), `scores` `(n,)`.

    `base` `(n,)` holds normalised log weights under which the samples represent the
    untilted law (quadrature nodes, an earlier tilt); None means equally weighted samples.
    """
    return torch.log_softmax(scores if base is None else scores + base, dim=0)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Kish's effective sample size of normalised log weights `(n,)`: from 1 to n."""
    return torch.exp(-torch.logsumexp(2 * log_weights, dim=0))


def log_partition(scores: Tensor, base: Tensor | None = None) -> Tensor:
    """log E[exp(scores)], the mean taken over samples or under `base`, overflow-free."""
    if base is None:
        return torch.logsumexp(scores, dim=0) - math.log(len(scores))
    return torch.logsumexp(scores + base, dim=0)


def tilt_divergence(scores: Tensor, base: Tensor | None = None) -> Tensor:
    """KL(tilted ‖ untilted) in nats for the law tilted by exp(scores), `scores` `(n,)`."""
    weights = log_weights(scores, base).exp()
    return weights @ scores - log_partition(scores, base)


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
    """Moments of rewards `(n,)` by `group` `(n,)` long in 0..groups-1; one group pools all.

    For several strengths at once, (3) holds group by group. NaN where a group has fewer than
    two samples; computed in float64. Raises ValueError for several groups without `group`.
    """
    if groups == 1:
        index = torch.zeros(len(upper), dtype=torch.long)
    elif group is None:
        raise ValueError(f"{groups} groups asked of samples that are not grouped")
    else:
        index = group.cpu()
    first, second = upper.double().cpu(), lower.double().cpu()
    members = torch.nn.functional.one_hot(index, groups).double().T
    sizes = members.sum(dim=1)
    degrees = torch.where(sizes > 1, sizes - 1, math.nan)

    def mean(values: Tensor) -> Tensor:
        return members @ values / sizes

    upper_mean = mean(first)
    first, second = first - upper_mean[index], second - mean(second)[index]
    return Moments(
        upper=upper_mean,
        upper_spread=(members @ first**2 / degrees).sqrt(),
        lower_spread=(members @ second**2 / degrees).sqrt(),
        covariance=members @ (first * second) / degrees,
    )


def pool_gradient(
    upper: Tensor, lower: Tensor, strength: float, base: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """dF/dlambda by (3) from samples of the *untilted* law, reweighted to lambda = `strength`.

    Returns the gradient and the share of effective samples in (0, 1]: below about 0.2 the
    estimate is worthless, and collapses to zero as a single sample takes all the weight.
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
    if not gamma > 0:
        raise ValueError(f"gamma must be positive, got {gamma}")
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
