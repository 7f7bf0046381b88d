"""scikit-learn's 8 x 8 digits: a schedule task of seconds."""

from __future__ import annotations

from torch import nn

from tasks.schedule.images import ImageScheduleTask
from tasks.schedule.network import DenseNet, Preconditioned
from tasks.schedule.plans import COSINE, PLAN, PUBLISHED


class ScheduleDigits(ImageScheduleTask):
    """About 2200 training steps fit into 15 seconds of one CPU core."""

    name = "schedule/digits"
    description = "Noise levels of a small dense network trained on 8 x 8 digits"
    dataset = "digits"
    trial_steps = 300
    budget = 12 / 3600

    def build(self) -> nn.Module:
        return Preconditioned(DenseNet(size=8, width=256, depth=3))


class ScheduleDigitsCosine(ScheduleDigits):
    """The same from the paper's default: how far does a method get that is not told the plan?"""

    name = "schedule/digits-cosine"
    description = "schedule/digits from the cosine schedule, sampled at uniform steps of it"
    plans = PLAN.starting_at(**COSINE)
    space = plans.space


class ScheduleDigitsBadStart(ScheduleDigits):
    """The same from a plan that spends most training and most evaluations on nearly pure noise."""

    name = "schedule/digits-badstart"
    description = "schedule/digits from a bad plan (location = -3, rho = 2)"
    plans = PLAN.starting_at(location=-3.0, rho=2.0)
    space = plans.space


class ScheduleDigitsPublished(ScheduleDigits):
    """The paper's search space, DDIM sampler and bare prediction of the noise on digits, for
    comparison with its algorithm."""

    name = "schedule/digits-published"
    description = "schedule/digits with the published schedules and DDIM"
    plans = PUBLISHED
    space = PUBLISHED.space
    solver = "DDIM"

    def build(self) -> nn.Module:
        return DenseNet(size=8, width=256, depth=3)


class ScheduleDigitsUnclipped(ScheduleDigitsPublished):
    """The published setting, whose first sampling step is singular at the default schedule.

    There alpha_bar ends near 1e-9, and the first of the DDIM steps divides by its square root:
    what the network gets wrong about pure noise is multiplied by 10^4 or more, and nothing bounds
    the predicted image. Every schedule that ends earlier escapes this, so any tuner gains a lot
    over `default` by leaving one corner of the box, which says little about tuning.
    """

    name = "schedule/digits-unclipped"
    description = "schedule/digits-published without bounds on predicted images: singular default"
    clip = None
