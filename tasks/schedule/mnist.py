"""MNIST-5k pooled to 14 x 14: a schedule task of minutes."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from tasks.schedule.images import ImageScheduleTask
from tasks.schedule.network import UNet
from tasks.schedule.schedules import COSINE


class ScheduleMnist(ImageScheduleTask):
    """About 3000 training steps fit into the default budget on one CPU core."""

    name = "schedule/mnist"
    description = "Noise schedule of a small U-Net trained on 14 x 14 MNIST"
    dataset = "mnist14"
    trial_steps = 400
    rate = 8e-3
    budget = 90 / 3600

    def build(self) -> nn.Module:
        return UNet(channels=32)


class ScheduleMnistBadStart(ScheduleMnist):
    """The same from a schedule that ends long before pure noise, where sampling begins."""

    name = "schedule/mnist-badstart"
    description = "schedule/mnist from a bad initial schedule (width = 0.85)"
    schedule = replace(COSINE, space=COSINE.space.starting_at(width=0.85))
    space = schedule.space
