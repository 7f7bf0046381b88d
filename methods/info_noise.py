"""Training levels that follow the rate at which noise takes information about the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from methods.base import Method, Problem
from methods.edm import EDM
from methods.training_run import TrainingRun
from tasks.base import Task
from tasks.schedule.plans import TABLE, Plan, resampled

CENTRES = torch.linspace(-9, 9, 19, dtype=torch.float64)
"""Levels whose losses are measured, in lsnr; the loss is linear in between."""
EVERY = 8
"""Training steps between two measurements, each of one level."""
MEMORY = 0.7
"""Share of its moving average that a measured loss leaves."""
WARM_UP = 0.1
"""Share of the run at the default's training levels: a new network's losses say nothing of data."""
SIGMA_DATA = 0.5
"""The constant of the source's objective, which is EDM's."""


def entropy_rate(losses: Tensor) -> Tensor:
    """-dH(image | noisy image) / d lsnr, in nats per dimension, of noise-prediction `losses`.

    By the I-MMSE relation (Guo, Shamai & Verdú, 2005) it is half of the signal-to-noise ratio times
    the mean squared error of the image, and that product is the mean squared error of the noise.
    """
    return losses / 2


def allocation(levels: Tensor, losses: Tensor) -> Tensor:
    """Density of training levels, not normalised, at `levels` `(n,)` with noise-prediction `losses`
    `(n,)`: the entropy rate over EDM's weight of an error of the image, 1 + snr · `SIGMA_DATA`²."""
    return entropy_rate(losses) / (1 + SIGMA_DATA**2 * levels.exp())


def informed(losses: Tensor) -> Tensor:
    """Training levels `(TABLE,)` with that density, `losses` being those at `CENTRES`."""
    grid = torch.linspace(float(CENTRES[0]), float(CENTRES[-1]), 10 * TABLE, dtype=torch.float64)
    place = (grid - grid[0]) / (CENTRES[1] - CENTRES[0])
    below = place.long().clamp(max=len(CENTRES) - 2)
    values = torch.lerp(losses[below], losses[below + 1], place - below)
    return resampled(grid, allocation(grid, values))


class Run(TrainingRun):
    """One training whose levels follow its losses; `losses` `(len(CENTRES),)` are their moving
    averages, and `measured` the number of measurements."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.losses = torch.zeros_like(CENTRES)
        self.measured = 0

    def work(self, progress: float) -> None:
        if progress >= WARM_UP and self.iteration % EVERY == 0:
            self.measure()
        self.task.train_step(self.training, self.levels, progress)

    def measure(self) -> None:
        """Measure the loss at one level; after each pass over all of them, move the levels."""
        task = self.task
        passes, place = divmod(self.measured, len(CENTRES))
        level = CENTRES[place].expand(TABLE).to(task.device)
        batch = task.batch(task.generator(self.seed("losses")))
        loss = task.loss(self.training.ema, level, batch).double().cpu()
        self.losses[place] = torch.lerp(loss, self.losses[place], MEMORY if passes else 0.0)
        self.measured += 1
        if self.measured % len(CENTRES) == 0:
            self.move(informed(self.losses).to(task.device))

    def move(self, levels: Tensor) -> None:
        """Train at `levels` `(TABLE,)`; the nearest plan with the start's sampling is recorded."""
        plans = self.task.plans
        assert isinstance(plans, Plan)
        sampling = {name: self.plan[name] for name in plans.sampling_names}
        self.levels, self.plan = levels, plans.nearest(levels) | sampling

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "losses": self.losses.clone(),
            "measured": self.measured,
            "levels": self.levels,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.losses, self.measured = state["losses"].cpu().clone(), state["measured"]
        if self.measured >= len(CENTRES):
            self.move(state["levels"].to(self.task.device))


class InfoNoise(Method):
    """Training levels drawn where noise takes most information, followed online from losses.

    The density of a level is the rate at which the conditional entropy of the image falls there,
    estimated from the noise-prediction loss, over the weight that an error of the image has in the
    source's objective. Objective and sampling levels stay the task's. A batch every eight steps
    measures the loss at one level without a gradient, about 4 % of the run, where the source reads
    the losses of its training batches; which weight divides the rate is this suite's reading.
    """

    name = "info-noise"
    citation = "Raya et al., 2026, arXiv:2602.18647"
    uses = "losses"
    group = "staged"

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return EDM.supports(task)

    def run(self, problem: Problem) -> None:
        Run(problem).run()
