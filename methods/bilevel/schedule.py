"""Generative bilevel optimisation of noise schedules (arXiv 2502.08808, Algorithm 6).

Upper level: Fréchet distance F(theta, q) of samples under the schedule q. Lower level:
denoising loss L(theta; q). One run trains one network, learning the schedule it trains under,
and towards its end tunes the network for what it is judged by.

**Learning the training schedule** (`learn_training`). "partial": the schedule takes a few dozen
steps along dF/dq(theta, q) at the present weights, pathwise through the sampler, and training
follows it. At fixed weights that gradient can only say how to sample; it is the right way to
go because the network is told the noise level and not the step, so that it serves any schedule,
and training where one samples is close to the best. What it leaves out is the response of the
weights, theta(q). "penalty" is the paper's form, which has that too (`methods.bilevel.penalty`).

**The joint last phase** steps on F(theta, q') / gamma + L(theta; q) in the weights theta and in
a sampling schedule q' of their own, F by its pathwise gradient through the sampler. F is that of
moving moments of the features over many small batches (`memory`). Training and sampling need not
share a schedule, and a sampling schedule is tuned without retraining. Its ingredients are options,
so that each can be left out (`weights`, `sampling`) or replaced (`pathwise`);
`benchmark/suites/ablation.toml` compares them with searches that are offered the same. With frozen
weights and a frozen schedule nothing would be left to tune; `tail` = 0 is that.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from methods.base import Problem
from methods.bilevel.penalty import Lookahead, penalty_gradient
from tasks.metrics.frechet import Moments
from tasks.schedule.base import ScheduleOracles
from tasks.space import Params

END = 0.985
"""Share of the budget at which the last candidate is handed over."""
REPORTS = 11
BETAS = (0.9, 0.95)
"""Of Adam in the last phase, which starts afresh: the gradient of F has other sizes than that of
L, and what a thousand steps on L remember of those would set the steps of the few dozen left."""
AVERAGING = 0.8
"""Share that the moving averages of the last phase keep per step: it has dozens of steps, not
hundreds."""
FIRST_SAMPLES = 256
"""Images that the first estimate of F in the last phase, and of its moments, is made from."""
LEARNING = ("", "partial", "penalty")
FOLLOWING_SAMPLES = 64
"""Images per gradient that the training schedule follows."""
FOLLOWING = (0.08, 0.7)
"""Shares of the training phase between which the training schedule follows F: not before there
is something to sample, and not while the learning rate falls to its end."""


@dataclass(frozen=True)
class Options:
    """Settings of the run."""

    weights: bool = True
    """Let the last phase move the weights. If not, it tunes the sampling schedule alone."""
    sampling: bool = True
    """Let the last phase move the sampling schedule. If not, that stays the training schedule."""
    pathwise: bool = True
    """Differentiate F in the sampling schedule through the sampler. If not, compare two schedules
    along a random diagonal per step, with common noise (Spall, IEEE TAC 1992)."""
    perturbation: float = 0.02
    """Half the distance of those two in each coordinate of the unit cube."""
    gamma: float = 10.0
    """Penalty on the loss, each level being measured in units of its value at the time the
    other term joins in: the objective is F / F0 + gamma L / L0."""
    tail: float = 0.4
    """Share of the run given to the joint last phase."""
    samples: int = 128
    """Images per pathwise gradient of the last phase."""
    memory: float = 0.5
    """Share of the moving moments that each of these batches leaves of those before it. More
    memory lags behind the weights: the phase then circles around its goal."""
    rate: float = 0.1
    """Learning rate of the weights at the start of the last phase, in units of the task's; it
    falls to zero."""
    schedule_rate: float = 0.06
    """Step of the sampling schedule, in unit-cube coordinates, at the start of the last phase."""
    learn_training: str = "partial"
    """How the schedule that the network is trained under is learned: "partial", "penalty" or,
    empty, not at all."""
    follow_steps: int = 24
    """Steps of "partial"."""
    follow_rate: float = 0.08
    """Their length at first, in unit-cube coordinates; it falls to zero."""
    lookahead: int = 100
    """Steps of both sides of the penalty before their gradients are compared."""
    lookahead_gamma: float = 200.0
    """`gamma` of the penalty."""
    lookahead_rate: float = 0.025
    """Learning rate of both sides, in units of the task's."""
    interval: int = 200
    """Training steps between two steps of "penalty"."""
    trust: float = 0.05
    """Length of such a step, largest coordinate, in the unit cube."""

    def looking_ahead(self) -> Lookahead:
        """Of the penalty."""
        return Lookahead(self.lookahead, self.lookahead_rate, self.samples)

    def __post_init__(self) -> None:
        if not 0 <= self.tail < 1:
            raise ValueError(f"tail must be in [0, 1), got {self.tail}")
        if not (self.weights or self.sampling):
            raise ValueError("the last phase needs weights or sampling to move; or set tail = 0")
        if self.learn_training not in LEARNING:
            known = ", ".join(map(repr, LEARNING))
            raise ValueError(f"learn_training must be one of {known}, got {self.learn_training!r}")
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory must be in [0, 1), got {self.memory}")
        if not 0 < self.perturbation < 0.5:
            raise ValueError(f"perturbation must be in (0, 0.5), got {self.perturbation}")


def run(problem: Problem, options: Options | None = None, params: Params | None = None) -> None:
    """Train from scratch under `params` (the default setting if left out), tune, and report,
    from the present progress until `END` of the budget."""
    ScheduleRun(problem, options or Options(), params or problem.space.default).run()


class ScheduleRun:
    """One run: a network in training, its training schedule and its sampling schedule."""

    def __init__(self, problem: Problem, options: Options, params: Params) -> None:
        task = problem.oracles
        assert isinstance(task, ScheduleOracles)
        self.problem, self.task, self.options = problem, task, options
        self.begun = problem.progress
        """Share of the budget spent before this run."""
        self.training = task.begin(problem.seed("training"))
        start = torch.as_tensor(problem.space.to_unit(params), device=task.device)
        self.position = start
        """Training schedule in the unit cube, `(d,)`."""
        self.table = task.alpha_bar(start)
        self.leader = start.clone().requires_grad_()
        """What the training schedule follows: it is the moving average of these, `(d,)`."""
        self.leader_optimiser = torch.optim.Adam([self.leader], betas=(0.8, 0.95))
        self.followed = 0
        """Steps that the leader has made."""
        self.moments = Moments(options.memory)
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
        progress = self.progress()
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
            before, progress = progress, self.progress()
            self.stride = progress - before
        self.report()

    def progress(self) -> float:
        """Share of this run that is over, 0 to 1 and a little beyond."""
        return (self.problem.progress - self.begun) / (END - self.begun)

    def train(self, fraction: float) -> None:
        """A step of the lower level, `fraction` of the training phase being over."""
        options = self.options
        if options.learn_training == "partial" and self.follows(fraction):
            self.follow()
        elif options.learn_training == "penalty" and (self.iteration + 1) % options.interval == 0:
            self.move_training_schedule()
        self.task.train_step(self.training, self.table, fraction)

    def tune(self, fraction: float) -> None:
        """A joint step on F / gamma + L, `fraction` of the last phase being over."""
        if not self.tuning:
            self.begin_tuning()
        self.distance_gradient()
        if self.options.weights:
            self.move_weights(1 - fraction)
        if self.options.sampling:
            self.move_sampling_schedule(1 - fraction)

    def begin_tuning(self) -> None:
        """Go on from the average weights, sampling under the training schedule at first."""
        self.training.net.load_state_dict(self.training.ema.state_dict())
        self.training.restart(BETAS)
        self.sampling.data.copy_(self.position)
        self.average.copy_(self.position)
        self.tuning = True
        self.weight = self.weigh(self.options.gamma, self.moments)

    def distance_gradient(self) -> None:
        """Accumulate the gradient of F in whatever may move, all from the same noise."""
        task, options = self.task, self.options
        noise = task.noise(options.samples, self.generator("noise"))
        net = self.training.net if options.weights else self.training.ema  # that one is frozen
        through = options.sampling and options.pathwise
        if options.weights or through:
            sampling = self.sampling if through else self.sampling.detach()
            table = task.alpha_bar(sampling)
            task.frechet_gradient(net, table, noise, self.weight, self.moments)
        if options.sampling and not options.pathwise:
            self.sampling.grad = self.weight * self.differences(net, noise)

    def differences(self, net: nn.Module, noise: Tensor) -> Tensor:
        """An estimate `(d,)` of dF / dq' from two batches with common noise."""
        task, sampling = self.task, self.sampling.detach()
        offset = torch.full_like(sampling, self.options.perturbation)
        draws = torch.rand(offset.shape, generator=self.generator("signs"), device=task.device)
        offset = torch.where(draws < 0.5, -offset, offset)
        upper, lower = (sampling + offset).clamp(0, 1), (sampling - offset).clamp(0, 1)
        tables = torch.stack([task.alpha_bar(side) for side in (upper, lower)])
        images = task.sample_each(net, tables, noise.expand(2, *noise.shape))
        above, below = (task.frechet(side) for side in images)
        return (above - below) / (upper - lower)

    def move_weights(self, left: float) -> None:
        """A step of the weights, on the loss as well, `left` of the last phase remaining."""
        task, training = self.task, self.training
        task.loss_gradient(training.net, self.table, task.batch(training.generator))
        task.update(training, task.rate * self.options.rate * left, AVERAGING)

    def move_sampling_schedule(self, left: float) -> None:
        """A step of the sampling schedule, kept in the box, `left` of the last phase remaining."""
        self.sampling_optimiser.param_groups[0]["lr"] = self.options.schedule_rate * left
        self.sampling_optimiser.step()
        self.sampling_optimiser.zero_grad()
        self.sampling.data.clamp_(0, 1)
        self.average.lerp_(self.sampling.detach(), 1 - AVERAGING)

    def weigh(self, gamma: float, moments: Moments | None = None) -> float:
        """Measure both levels at the average weights; the weight of F beside L."""
        task, generator = self.task, self.generator("weigh")
        noise = task.noise(FIRST_SAMPLES, generator)
        distance = task.frechet(task.sample(self.training.ema, self.table, noise), moments)
        loss = task.loss(self.training.ema, self.table, task.batch(generator))
        return float(loss / distance) / gamma

    def follows(self, fraction: float) -> bool:
        """Whether a step of "partial" is due, `fraction` of the training phase being over."""
        begin, end = FOLLOWING
        share = self.followed / max(self.options.follow_steps, 1)
        return share < 1 and fraction >= begin + (end - begin) * share

    def follow(self) -> None:
        """A step of the leader along the partial gradient; training follows its average."""
        task, options = self.task, self.options
        noise = task.noise(FOLLOWING_SAMPLES, self.generator("follow"))
        task.frechet_gradient(self.training.ema, task.alpha_bar(self.leader), noise)
        left = 1 - self.followed / options.follow_steps
        self.leader_optimiser.param_groups[0]["lr"] = options.follow_rate * left
        self.leader_optimiser.step()
        self.leader_optimiser.zero_grad()
        self.leader.data.clamp_(0, 1)
        self.followed += 1
        self.position = self.position.lerp(self.leader.detach(), 1 - AVERAGING)
        self.table = task.alpha_bar(self.position)

    def move_training_schedule(self) -> None:
        """A step of fixed length against the penalty gradient."""
        options = self.options
        lookahead = options.looking_ahead()
        weight, generator = self.weigh(options.lookahead_gamma), self.generator("lookahead")
        gradient = penalty_gradient(
            self.task, self.training, self.position, weight, lookahead, generator
        )
        step = options.trust * gradient / gradient.abs().amax().clamp(min=1e-30)
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
            "begun": self.begun,
            "training": self.training.state_dict(),
            "position": self.position.clone(),
            "leader": self.leader.detach().clone(),
            "leader_optimiser": copy.deepcopy(self.leader_optimiser.state_dict()),
            "followed": self.followed,
            "moments": (self.moments.first, self.moments.second),
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
        self.begun = state["begun"]
        self.training.load_state_dict(state["training"])
        self.position = state["position"].to(self.position)
        self.table = self.task.alpha_bar(self.position)
        self.leader.data.copy_(state["leader"])
        self.leader_optimiser.load_state_dict(state["leader_optimiser"])
        self.followed = state["followed"]
        self.moments = Moments(
            self.options.memory,
            *(x if x is None else x.to(self.position) for x in state["moments"]),
        )
        self.sampling.data.copy_(state["sampling"])
        self.average.copy_(state["average"])
        self.sampling_optimiser.load_state_dict(state["sampling_optimiser"])
        self.iteration = state["iteration"]
        self.stride = state["stride"]
        self.reported = state["reported"]
        self.tuning = state["tuning"]
        self.weight = state["weight"]
