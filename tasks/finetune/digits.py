"""Fine-tuning on 8 x 8 digits: seconds on a CPU."""

from __future__ import annotations

from tasks.finetune.base import per_group
from tasks.finetune.latent import LatentTask
from tasks.finetune.models import CLASSES


class FinetuneDigits(LatentTask):
    """Bold but recognisable 8 x 8 digits from one entropy strength."""

    name = "finetune/digits"
    description = "Entropy strength of reward-guided sampling, 8 x 8 digits"
    dataset = "digits"
    budget = 12 / 3600


class FinetuneDigitsPerClass(FinetuneDigits):
    """One entropy strength per class, each class with its own idea of bold."""

    name = "finetune/digits-perclass"
    description = "Ten entropy strengths of reward-guided sampling, one per class of 8 x 8 digits"
    space = per_group(CLASSES)
    ink_targets = tuple(0.25 * (label + 1) for label in range(CLASSES))
