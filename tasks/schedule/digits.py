"""scikit-learn's 8 x 8 digits: a schedule task of seconds."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from tasks.schedule.images import ImageScheduleTask
from tasks.schedule.network import DenseNet
from tasks.schedule.schedules import COSINE


class ScheduleDigits(ImageScheduleTask):
    """About 1200 training steps fit into the default budget on one CPU core."""

    name = "schedule/digits"
    description = "Noise schedule of a small dense network trained on 8 x 8 digits"
    dataset = "digits"
    trial_steps = 300
    budget = 12 / 3600

    def build(self) -> nn.Module:
        return DenseNet(size=8, width=256, depth=3)


class ScheduleDigitsBadStart(ScheduleDigits):
    """The same from a badly chosen setting, which spends most of its steps on nearly pure
    noise: what is a method worth to someone whose default is not a good one?"""

    name = "schedule/digits-badstart"
    description = "schedule/digits from a bad initial schedule (tau = 4)"
    schedule = replace(COSINE, space=COSINE.space.starting_at(tau=4.0))
    space = schedule.space


class ScheduleDigitsUnclipped(ScheduleDigits):
    """The published setting, whose first sampling step is singular at the default schedule.

    There alpha_bar ends near 1e-9, and the first of the DDIM steps divides by its square root:
    what the network gets wrong about pure noise is multiplied by 10^4 or more, and nothing bounds
    the predicted image. Every schedule that ends earlier (width + start below 1) escapes this, so
    any tuner gains a lot over `default` by leaving one corner of the box, which says little about
    tuning. A gradient sees a cliff there. See docs/protocol.md for what it does to each method.
    """

    name = "schedule/digits-unclipped"
    description = "schedule/digits without bounds on predicted images: the default is singular"
    clip = None
