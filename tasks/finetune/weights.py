"""Importance weights of tilted laws, and whether they can be trusted.

Samples of one law stand for another by self-normalised weights. Here the laws are tilts
p ∝ p_data · exp(beta · r2) of one pre-trained law by a reward r2, at inverse entropy
strengths beta = 1 / lambda; beta = 0 is the pre-trained law itself, called untilted.

All weights are handled as logarithms, so that a small lambda cannot overflow. Rewards and
lambda share one unit, whatever the reward is measured in; divergences are in nats. Functions
keep the floating dtype of their first argument.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST_TAIL = 5
"""Weights without which a tail is not fitted, as in the authors' implementation of k-hat."""
PRIOR_SIZE, PRIOR_SHAPE = 10, 0.5
"""The weakly informative prior of k-hat counts as ten weights of a tail of index one half."""
TOLERANCE = 1e-10
"""Error of the mixture's equations at which they count as solved, as a share of the samples."""
ITERATIONS = 100
"""Bound on the solution of these equations, which takes five or so."""


def log_weights(scores: Tensor, base: Tensor | None = None) -> Tensor:
    """Self-normalised log weights `(n,)` of the law tilted by exp(scores), `scores` `(n,)`.

    `base` `(n,)` holds normalised log weights under which the samples represent the
    untilted law (quadrature nodes, an earlier tilt, `mixture_base`); None means equally
    weighted samples.
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


def pareto_k(log_weights: Tensor) -> Tensor:
    """Pareto k-hat of importance weights, from their logarithms `(n,)` up to a constant.

    The index of the generalised Pareto tail fitted to the largest min(n / 5, 3 √n) weights
    (Vehtari et al., arXiv 1507.02646, which advises against estimates with k-hat above 0.7;
    moments of the weights of order 1 / k and above do not exist). It judges the tail of the
    weights, as the effective sample size judges their spread. Constant to autograd.

    Zero for weights without a tail, as when all are equal; infinite, so that nobody trusts
    them, where fewer than five weights make up the tail: always with 20 samples or fewer.
    """
    size = math.ceil(min(len(log_weights) / 5, 3 * math.sqrt(len(log_weights))))
    if size < SMALLEST_TAIL:
        return log_weights.new_tensor(math.inf)
    largest = log_weights.detach().double().sort(descending=True).values[: size + 1]
    threshold, top = largest[-1], largest[0]
    tail = largest[~(largest <= threshold)]  # ties with the threshold say nothing, NaN does
    if len(tail) == 0:
        return log_weights.new_zeros(())
    if len(tail) < SMALLEST_TAIL:
        return log_weights.new_tensor(math.inf)
    excess = (tail - top).exp() * -torch.expm1(threshold - tail)
    # Excesses that underflow still are in the tail: without them its index would look small.
    index = _generalised_pareto_index(excess.clamp(min=1e-300).flip(0))
    weight = len(tail) / (len(tail) + PRIOR_SIZE)
    return torch.lerp(index.new_tensor(PRIOR_SHAPE), index, weight).to(log_weights.dtype)


def _generalised_pareto_index(excess: Tensor) -> Tensor:
    """Index k of the tail P(X > x) = (1 + k x / sigma)^(-1 / k) from ascending `excess` `(n,)`.

    The quasi-Bayesian estimate of Zhang & Stephens (2009, Technometrics 51, 316), their index
    with its sign changed: the profile likelihood of theta = -k / sigma, averaged over a grid.
    """
    n = len(excess)
    points = 30 + math.isqrt(n)
    position = torch.arange(points, dtype=excess.dtype, device=excess.device) + 0.5
    quartile = excess[int(n / 4 + 0.5) - 1]
    theta = 1 / excess[-1] + (1 - torch.sqrt(points / position)) / (3 * quartile)
    index = torch.log1p(-theta[:, None] * excess).mean(dim=1)
    log_likelihood = n * (torch.log(-theta / index) - index - 1)
    theta_mean = torch.softmax(log_likelihood, dim=0) @ theta
    return torch.log1p(-theta_mean * excess).mean()


def mixture_base(lower: Tensor, inverse_strengths: Tensor, counts: Tensor) -> Tensor:
    """Normalised log weights `(n,)` that make samples of several tilts represent the untilted
    law: the `base` of every other function, which tilts on to any strength.

    `lower` `(n,)` holds the rewards r2 of all samples in any order: `counts[k]` of them drawn
    at the inverse strength `inverse_strengths[k]` (both `(K,)`, in reciprocal units of reward;
    0 is untilted). A sample is weighted against the whole mixture (the balance heuristic),

        log w = -log sum_k counts[k] · exp(inverse_strengths[k] · r2 - log Z_k) + constant,

    Z_k = E_data[exp(inverse_strengths[k] · r2)] being the self-consistent solution that makes
    every law's share of the samples, under the mixture, its share of the counts: the
    multistate Bennett acceptance ratio (Shirts & Chodera 2008, J. Chem. Phys. 129, 124105,
    eq. 11). Half the samples untilted are a defensive mixture (Owen & Zhou 2000, J. Am. Stat.
    Assoc. 95, 135). Tilted to one of the K strengths, the effective sample size is at least
    that law's count, however far the others are: n_k² / sum P² with memberships 0 <= P <= 1
    whose sum is n_k.

    Laws whose samples do not overlap leave their Z_k undetermined within the gap, and the
    weights between them in doubt: the middle of the gap is then used. Solved in float64 to
    `TOLERANCE`; constants to autograd.

    Raises ValueError for counts that are not positive or do not add up to n and for values
    that are not finite, ArithmeticError where no solution is found.
    """
    if len(counts) != len(inverse_strengths) or (counts < 1).any() or counts.sum() != len(lower):
        raise ValueError(f"counts {counts.tolist()} do not split {len(lower)} samples by strength")
    if not (torch.isfinite(inverse_strengths).all() and torch.isfinite(lower).all()):
        raise ValueError("rewards and inverse strengths must be finite")
    rewards = lower.detach().double()
    rewards = rewards - rewards.mean()  # shifts log Z_k only, and keeps the scores small
    slopes, sizes = inverse_strengths.to(rewards), counts.to(rewards)
    scores = slopes[:, None] * rewards
    rounding = torch.finfo(scores.dtype).eps * scores.abs().max().item()
    tolerance = len(rewards) * max(TOLERANCE, 4 * rounding)
    partitions = _separated_partitions(rewards, slopes, sizes)
    for _ in range(ITERATIONS):
        residual, newton, fixed_point = _mixture_steps(scores, sizes, partitions)
        if residual <= tolerance:
            density = torch.logsumexp(scores + (sizes.log() - partitions)[:, None], dim=0)
            return torch.log_softmax(-density, dim=0).to(lower.dtype)
        # Newton's step can overshoot far from the solution, where the slower one is safe.
        better = _mixture_steps(scores, sizes, newton)[0] < residual
        partitions = newton if better else fixed_point
    raise ArithmeticError(f"mixture weights did not converge: error {residual:.2g} samples")


def _separated_partitions(rewards: Tensor, slopes: Tensor, sizes: Tensor) -> Tensor:
    """First guess at log Z `(K,)`: the solution if stronger tilts had drawn larger rewards only.

    Two laws then are equally likely, counts apart, half-way between the rewards of either side.
    """
    order = slopes.argsort()
    ranks = sizes[order].cumsum(dim=0)[:-1].long()
    ascending = rewards.sort().values
    halfway = (ascending[ranks - 1] + ascending[ranks]) / 2
    partitions = torch.zeros_like(slopes)
    partitions[order[1:]] = (slopes[order].diff() * halfway).cumsum(dim=0)
    return partitions


def _mixture_steps(
    scores: Tensor, sizes: Tensor, partitions: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Largest error in the laws' counts at log Z = `partitions` `(K,)`, then the next
    `partitions` by Newton's method and by the self-consistent iteration; scores `(K, n)`."""
    log_membership = torch.log_softmax(scores + (sizes.log() - partitions)[:, None], dim=0)
    membership = log_membership.exp()
    error = membership.sum(dim=1) - sizes
    hessian = membership.sum(dim=1).diag() - membership @ membership.T
    # A common factor of all Z_k is free, and laws without overlap have more such directions.
    ridge = (torch.finfo(scores.dtype).eps * sizes.sum()).expand(len(sizes)).diag()
    newton = partitions + torch.linalg.solve(hessian + ridge, error)
    fixed_point = partitions + torch.logsumexp(log_membership, dim=1) - sizes.log()
    return error.abs().max().item(), newton, fixed_point
