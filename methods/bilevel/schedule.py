"""Generative bilevel optimisation of noise schedules (arXiv 2502.08808, Algorithm 6).

Upper level: Fréchet distance F(theta, q) of samples under the schedule q. Lower level:
denoising loss L(theta; q). One run trains one network and, towards its end, tunes it for what
it is judged by.

**The joint last phase** steps on F(theta, q') / gamma + L(theta; q) in the weights theta and in
a sampling schedule q' of their own, F by its pathwise gradient through the sampler. Training
and sampling need not share a schedule, and a sampling schedule is tuned without retraining.

**Learning the training schedule** (`learn_training`) follows the paper's penalty form

    dF/dq ~ dF/dq(theta_z, q) + gamma (dL/dq(theta_z; q) - dL/dq(theta_y; q)),

theta_y minimising L and theta_z minimising F / gamma + L, both continued from one state for
`lookahead` steps on the same batches. It is right on average but a single estimate is unreliable:
over 8 trainings at each of four settings of the Gaussian task that played no part in choosing
its options, 6, 7, 8 and 3 estimates had a cosine above 0.5 with the exact hypergradient (the last
where that is smallest), and several had the opposite sign. There the first term alone did no
worse. One estimate costs over a hundred pathwise gradients, more than a whole run of
`schedule/digits` can pay. Hence off by default.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from methods.base import Problem
from tasks.schedule.base import ScheduleTask
from tasks.schedule.training import Training
from tasks.space import Params

END = 0.985
"""Share of the budget at which the last candidate is handed over."""
REPORTS = 11
AVERAGING = 0.8
"""Share that the moving averages of the last phase keep per step: it has dozens of steps, not
hundreds."""


@dataclass(frozen=True)
class Options:
    """Settings of the run."""

    gamma: float = 10.0
    """Penalty on the loss, each level being measured in units of its value at the time the
    other term joins in: the objective is F / F0 + gamma L / L0."""
    tail: float = 0.4
    """Share of the run given to the joint last phase."""
    samples: int = 128
    """Images per pathwise gradient."""
    rate: float = 0.075
    """Learning rate of the weights at the start of the last phase, in units of the task's; it
    falls to zero. Larger ones exploit the feature network: a second one sees less of the gain."""
    schedule_rate: float = 0.06
    """Step of the sampling schedule, in unit-cube coordinates, at the start of the last phase."""
    learn_training: bool = False
    """Also learn the schedule that the network is trained under."""
    lookahead: int = 100
    """Steps of both sides of the penalty before their gradients are compared."""
    lookahead_gamma: float = 200.0
    """`gamma` of the penalty."""
    lookahead_rate: float = 0.025
    """Learning rate of both sides, in units of the task's."""
    interval: int = 200
    """Training steps between two steps of the training schedule."""
    trust: float = 0.05
    """Length of a step of the training schedule, largest coordinate, in the unit cube."""


def run(problem: Problem, options: Options | None = None) -> None:
    """Train, tune, and report until `END` of the budget."""
    ScheduleRun(problem, options or Options()).run()


class ScheduleRun:
    """One run: a network in training, its training schedule and its sampling schedule."""

    def __init__(self, problem: Problem, options: Options) -> None:
        task = problem.task
        assert isinstance(task, ScheduleTask)
        self.problem, self.task, self.options = problem, task, options
        self.training = task.begin(problem.seed("training"))
        start = torch.as_tensor(problem.space.to_unit(problem.space.default), device=task.device)
        self.position = start
        """Training schedule in the unit cube, `(d,)`."""
        self.table = task.alpha_bar(start)
        self.sampling = start.clone().requires_grad_()
        """Sampling schedule in the unit cube, `(d,)`."""
        self.average = start.clone()
        """Moving average of the sampling schedule: what is delivered."""
        self.sampling_optimiser = torch.optim.Adam([self.sampling], betas=(0.8, 0.95))
        self.iteration = 0
        self.stride = 0.0
        """Share of the run that the last iteration took: the next one must fit in."""
        self.reported = 0.0
        self.tuning = False
        self.weight = 0.0
        """Weight of F beside L: L0 / (gamma F0)."""

    def run(self) -> None:
        restored = self.problem.restored
        if restored is not None:
            self.load_state_dict(restored)
        progress = self.problem.progress / END
        while progress + self.stride < 1:
            if progress >= self.reported + 1 / REPORTS:
                self.reported = progress
                self.report()
                self.problem.checkpoint(self.state_dict())
            trained = progress / (1 - self.options.tail)
            if trained < 1:
                self.train(trained)
            else:
                self.tune((progress - (1 - self.options.tail)) / self.options.tail)
            self.iteration += 1
            before, progress = progress, self.problem.progress / END
            self.stride = progress - before
        self.report()

    def train(self, fraction: float) -> None:
        """A step of the lower level, `fraction` of the training phase being over."""
        due = self.iteration % self.options.interval == self.options.interval - 1
        if self.options.learn_training and due:
            self.move_training_schedule()
        self.task.train_step(self.training, self.table, fraction)

    def tune(self, fraction: float) -> None:
        """A joint step on F / gamma + L, `fraction` of the last phase being over."""
        task, training = self.task, self.training
        if not self.tuning:
            training.net.load_state_dict(training.ema.state_dict())
            self.sampling.data.copy_(self.position)
            self.average.copy_(self.position)
            self.tuning = True
            self.weight = self.weigh(self.options.gamma)
        noise = task.noise(self.options.samples, self.generator("noise"))
        table = task.alpha_bar(self.sampling)
        task.frechet_gradient(training.net, table, noise, self.weight)
        batch = task.batch(training.generator)
        task.loss_gradient(training.net, self.table, batch)
        task.update(training, task.rate * self.options.rate * (1 - fraction), AVERAGING)
        self.sampling_optimiser.param_groups[0]["lr"] = self.options.schedule_rate * (1 - fraction)
        self.sampling_optimiser.step()
        self.sampling_optimiser.zero_grad()
        self.sampling.data.clamp_(0, 1)
        self.average.lerp_(self.sampling.detach(), 1 - AVERAGING)

    def weigh(self, gamma: float) -> float:
        """Measure both levels at the average weights; the weight of F beside L."""
        task, generator = self.task, self.generator("weigh")
        noise = task.noise(self.options.samples, generator)
        distance = task.frechet(task.sample(self.training.ema, self.table, noise))
        loss = task.loss(self.training.ema, self.table, task.batch(generator))
        return float(loss / distance) / gamma

    def move_training_schedule(self) -> None:
        """A step of fixed length against the penalty gradient."""
        gradient = penalty_gradient(
            self.task,
            self.training,
            self.position,
            self.options,
            self.weigh(self.options.lookahead_gamma),
            self.generator("lookahead"),
        )
        step = self.options.trust * gradient / gradient.abs().amax().clamp(min=1e-30)
        self.position = (self.position - step).clamp(0, 1)
        self.table = self.task.alpha_bar(self.position)

    def generator(self, purpose: str) -> torch.Generator:
        """Randomness of the present iteration, the same after a resumption."""
        return self.task.generator(self.problem.seed(purpose, self.iteration))

    def report(self) -> None:
        sampling = self.average if self.tuning else self.position
        candidate = self.task.candidate(
            self.training.ema, self.params(self.position), self.params(sampling)
        )
        self.problem.report(candidate)

    def params(self, position: Tensor) -> Params:
        return self.problem.space.from_unit(position.detach().cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        return {
            "training": self.training.state_dict(),
            "position": self.position.clone(),
            "sampling": self.sampling.detach().clone(),
            "average": self.average.clone(),
            "sampling_optimiser": copy.deepcopy(self.sampling_optimiser.state_dict()),
            "iteration": self.iteration,
            "stride": self.stride,
            "reported": self.reported,
            "tuning": self.tuning,
            "weight": self.weight,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.training.load_state_dict(state["training"])
        self.position = state["position"].to(self.position)
        self.table = self.task.alpha_bar(self.position)
        self.sampling.data.copy_(state["sampling"])
        self.average.copy_(state["average"])
        self.sampling_optimiser.load_state_dict(state["sampling_optimiser"])
        self.iteration = state["iteration"]
        self.stride = state["stride"]
        self.reported = state["reported"]
        self.tuning = state["tuning"]
        self.weight = state["weight"]


def penalty_gradient(
    task: ScheduleTask,
    training: Training,
    position: Tensor,
    options: Options,
    weight: float,
    generator: torch.Generator,
) -> Tensor:
    """d/dq of F at the lower level's answer to q, by the paper's penalty form: `(d,)`.

    `weight` is the weight of F beside L, 1 / gamma in the paper's units; `training` is left
    as it was.
    """
    lower, joint = copy.deepcopy(training), copy.deepcopy(training)
    fixed = task.alpha_bar(position)
    rate = task.rate * options.lookahead_rate
    for _ in range(options.lookahead):
        batch, noise = task.batch(generator), task.noise(options.samples, generator)
        task.frechet_gradient(joint.net, fixed, noise, weight)
        for side in (lower, joint):
            task.loss_gradient(side.net, fixed, batch)
            task.update(side, rate)
    moving = position.clone().requires_grad_()
    table = task.alpha_bar(moving)
    for _ in range(options.lookahead):
        batch = task.batch(generator)
        task.loss_gradient(joint.net, table, batch, 1 / (weight * options.lookahead))
        task.loss_gradient(lower.net, table, batch, -1 / (weight * options.lookahead))
    task.frechet_gradient(joint.net, table, task.noise(options.samples, generator))
    assert moving.grad is not None
    return moving.grad
