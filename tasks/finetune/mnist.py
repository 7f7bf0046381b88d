"""Fine-tuning on MNIST at 14 x 14 pixels: minutes on a CPU."""

from __future__ import annotations

from tasks.finetune.latent import LatentTask


class FinetuneMnist(LatentTask):
    """Bold but recognisable MNIST digits from one entropy strength."""

    name = "finetune/mnist"
    description = "Entropy strength of reward-guided sampling, MNIST at 14 x 14"
    dataset = "mnist14"
    samples = 1000
    budget = 300 / 3600
