"""MNIST-5k, pooled to 14 x 14 or at 28 x 28, and Fashion-MNIST: schedule tasks of minutes."""

from __future__ import annotations

from torch import nn

from tasks.assets.asset import Asset
from tasks.data import user_data
from tasks.schedule.images import ImageScheduleTask
from tasks.schedule.network import Preconditioned, UNet
from tasks.schedule.plans import COSINE, PLAN


class ScheduleMnist(ImageScheduleTask):
    """About 3000 training steps fit into the default budget on one CPU core."""

    name = "schedule/mnist"
    description = "Noise levels of a small U-Net trained on 14 x 14 MNIST"
    dataset = "mnist14"
    trial_steps = 400
    rate = 8e-3
    budget = 90 / 3600

    def build(self) -> nn.Module:
        return Preconditioned(UNet(channels=32))


class ScheduleMnistCosine(ScheduleMnist):
    """The same from the paper's default."""

    name = "schedule/mnist-cosine"
    description = "schedule/mnist from the cosine schedule, sampled at uniform steps of it"
    plans = PLAN.starting_at(**COSINE)
    space = plans.space


class ScheduleMnistBadStart(ScheduleMnist):
    """The same from a plan that never sees strong noise, where sampling begins."""

    name = "schedule/mnist-badstart"
    description = "schedule/mnist from a bad plan (location = 5, sigma_max = 5)"
    plans = PLAN.starting_at(location=5.0, sigma_max=5.0)
    space = plans.space


class ScheduleMnist28(ScheduleMnist):
    """The same images at full size, with a network of four times the work."""

    name = "schedule/mnist28"
    description = "Noise levels of a small U-Net trained on 28 x 28 MNIST"
    dataset = "mnist28"
    rate = 4e-3
    budget = 400 / 3600


class ScheduleFashion28(ScheduleMnist28):
    """The held-out task: nothing was ever tuned on it, and its settings are those of MNIST."""

    name = "schedule/fashion28"
    description = "Noise levels of a small U-Net trained on 28 x 28 Fashion-MNIST; held out"
    dataset = "fashion28"
    feature_set = "mnist28"

    @classmethod
    def assets(cls) -> tuple[Asset, ...]:
        return (user_data.asset(cls.dataset),)
