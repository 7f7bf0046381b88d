"""scikit-learn's 8 x 8 digits: a schedule task of seconds."""

from __future__ import annotations

from torch import nn

from tasks.schedule.images import ImageScheduleTask
from tasks.schedule.network import DenseNet


class ScheduleDigits(ImageScheduleTask):
    """About 1200 training steps fit into the default budget on one CPU core."""

    name = "schedule/digits"
    description = "Noise schedule of a small dense network trained on 8 x 8 digits"
    dataset = "digits"
    trial_steps = 300
    budget = 12 / 3600

    def build(self) -> nn.Module:
        return DenseNet(size=8, width=256, depth=3)
