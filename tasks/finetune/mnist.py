"""Fine-tuning on MNIST at 14 x 14 pixels: minutes on a CPU."""

from __future__ import annotations

from tasks.base import Metric
from tasks.finetune.base import per_group
from tasks.finetune.latent import LatentTask
from tasks.finetune.models import CLASSES
from tasks.finetune.rewards import Rewards


class FinetuneMnist(LatentTask):
    """Bold but recognisable MNIST digits from one entropy strength."""

    name = "finetune/mnist"
    description = "Entropy strength of reward-guided sampling, MNIST at 14 x 14"
    dataset = "mnist14"
    batch = 500
    budget = 300 / 3600


class FinetuneMnistPerClass(FinetuneMnist):
    """One entropy strength per class, each class with its own idea of bold."""

    name = "finetune/mnist-perclass"
    description = "Ten entropy strengths of reward-guided sampling, one per class of MNIST"
    space = per_group(CLASSES)
    ink_targets = tuple(0.25 * (label + 1) for label in range(CLASSES))


class FinetuneMnistCoupled(FinetuneMnistPerClass):
    """The ten classes share one supply of ink: no class can be tuned without the others.

        U = E[r1] - 2 · (E[ink] - 0.6)²

    with r1 as in `finetune/mnist-perclass`, whose classes together ask for more ink than that.
    What stands in `Rewards.upper` is U's influence function (Hampel, 1974): its mean over a draw
    is U of the draw, and its covariance with r2 within a class is the gradient of U in that
    class's strength, as (3) of `tasks.finetune.estimators` needs it. U of n samples is biased
    by -2 · Var(ink) / n.
    """

    name = "finetune/mnist-coupled"
    description = "Ten entropy strengths, one per class of MNIST, that share a supply of ink"
    metrics = (
        Metric("reward", "U (E[r1], ink shared)", higher_is_better=True),
        *FinetuneMnistPerClass.metrics[1:],
    )
    supply = 0.6
    """Mean ink that there is for all classes together, in the unit of r2."""
    scarcity = 2.0

    def settle(self, rewards: Rewards) -> Rewards:
        ink = rewards.lower
        excess = ink.mean() - self.supply
        marginal = 2 * self.scarcity * excess * (ink - ink.mean())
        upper = rewards.upper - self.scarcity * excess**2 - marginal
        return Rewards(upper, ink, rewards.group)
