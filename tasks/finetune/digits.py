"""Fine-tuning on 8 x 8 digits: seconds on a CPU."""

from __future__ import annotations

from tasks.finetune.latent import LatentTask


class FinetuneDigits(LatentTask):
    """Bold but recognisable 8 x 8 digits from one entropy strength."""

    name = "finetune/digits"
    description = "Entropy strength of reward-guided sampling, 8 x 8 digits"
    dataset = "digits"
    samples = 500
    budget = 12 / 3600
