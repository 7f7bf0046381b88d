"""Self-normalised importance weights of tilted laws.

Samples of one law stand for another by weighting them. Here the laws are tilts
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
