"""Generative bilevel optimisation of noise levels (arXiv 2502.08808, Algorithm 6).

Upper level: Fréchet distance F(theta, q) of samples under the plan q. Lower level: denoising loss
L(theta; q). One run trains one network and learns on the way what it trains on and how it is
sampled.

**Training levels** (`learn_training`). "response": up to sixteen times in a run the influence of
every noise level on F is measured, one step deep (`methods.bilevel.response`), and the plan takes a
step against the mean of the last few hypergradients, in those coordinates in which it stands out
from their noise: where there is nothing to gain, it stays. The mean influence is linear in the
distribution, so following it alone ends at a single level; the entropy of the training levels is
maximised beside it (`entropy`), and a step is short where they are narrow. "penalty" is the paper's
form of the same (`methods.bilevel.penalty`). The partial gradient dF/dq at fixed weights is zero
here: training levels reach F through the weights alone.

**Sampling levels** (`learn_sampling`) follow the pathwise gradient of F through the sampler, taken
from the same images, at the same moments and by the same rule. If they have moved, F is compared
with that at the start's levels after the last step, and the lower one's levels are kept.

**The joint last phase** (`tail` > 0; off by default) takes small steps of the weights on F + L, F
being that of moving moments of the features over many small batches (`memory`), and of the sampling
levels on F. Without the steps of the sampling levels it is the Representation Fréchet Loss (Yang et
al., 2026, arXiv 2604.28190; its eigenvalue route: Mathiasen & Hvilshøj, 2020, arXiv 2009.14075).
It lowers F in the features that it differentiates more than in others: see docs/schedules.md.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from methods.base import Problem
from methods.bilevel.penalty import Lookahead, penalty_gradient
from methods.bilevel.response import entropy, expected, influences, reach, walk
from methods.training_run import TrainingRun
from tasks.metrics.frechet import Moments
from tasks.space import Params

BETAS = (0.9, 0.95)
"""Adam's in the last phase, which starts afresh: the gradient of F has other sizes than that of L,
and second moments of a thousand steps on L would set the lengths of the few dozen that are left."""
AVERAGING = 0.8
"""Share that the moving averages of the last phase keep per step: it has dozens of steps, not
hundreds."""
FIRST_SAMPLES = 256
"""Images for the first estimate of F in the last phase, and of its moments."""
LEARNING = ("", "response", "penalty")
FOLLOWING = (0.05, 0.7)
"""Shares of the training phase between which the plan moves: not before there is something to
sample, and not when the weights can no longer follow."""
COMPARED = 250
"""Images, from common noise, by which learned sampling levels are compared with the start's."""
OVERHEAD = 0.15
"""Largest share of the time that steps of the plan may have taken before another one: where a run
is short, it makes fewer."""


@dataclass(frozen=True)
class Options:
    """Settings of the run."""

    learn_training: str = "response"
    """How the training levels are learned: "response", "penalty" or, empty, not at all."""
    learn_sampling: bool = True
    """Whether the sampling levels are learned during training."""
    follow_steps: int = 16
    """Steps of the plan during training."""
    follow_rate: float = 0.15
    """Largest length of those of the training levels at first, in unit-cube coordinates; it falls
    to zero. A step moves no level further than `REACH` times that many standard deviations."""
    sampling_rate: float = 0.17
    """Largest length of the steps of the sampling levels at first."""
    entropy: float = 0.2
    """Weight of the entropy of the training levels, in nats, beside the influences, which are in
    median absolute deviations."""
    follow_samples: int = 32
    """Images per gradient of F."""
    follow_batches: int = 1
    """Training batches per influence."""
    tail: float = 0.0
    """Share of the run given to the joint last phase."""
    weights: bool = True
    """Let the last phase move the weights. If not, it tunes the sampling levels alone."""
    loss: bool = True
    """Let the last phase keep the denoising loss beside F."""
    sampling: bool = True
    """Let the last phase move the sampling levels."""
    gamma: float = 10.0
    """Penalty on the loss, each level being measured in units of its value at the time the
    other term joins in: the objective is F / F0 + gamma L / L0."""
    samples: int = 128
    """Images per pathwise gradient in the sampling levels or of the last phase."""
    memory: float = 0.5
    """Share of the moving moments that each of these batches leaves of those before it. More
    memory lags behind the weights: the phase then circles around its goal."""
    rate: float = 0.05
    """Learning rate of the weights at the start of the last phase, in units of the task's; it
    falls to zero."""
    schedule_rate: float = 0.02
    """Step of the sampling levels, in unit-cube coordinates, at the start of the last phase."""
    lookahead: int = 100
    """Steps of both sides of the penalty before their gradients are compared."""
    lookahead_gamma: float = 200.0
    """`gamma` of the penalty."""
    lookahead_rate: float = 0.025
    """Learning rate of both sides, in units of the task's."""
    trust: float = 0.05
    """Length of a step of "penalty", largest coordinate, in the unit cube."""

    def looking_ahead(self) -> Lookahead:
        """Settings of the penalty gradient."""
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
        least = {"follow_steps": 0, "follow_rate": 0, "sampling_rate": 0, "entropy": 0,
                 "follow_samples": 2, "follow_batches": 1, "samples": 2}  # fmt: skip
        for name, low in least.items():
            if (value := getattr(self, name)) < low:
                raise ValueError(f"{name} must be at least {low}, got {value}")


def run(problem: Problem, options: Options | None = None, params: Params | None = None) -> None:
    """Train from scratch from `params` (the default plan if left out), learn, and report, from
    the present progress until the end of the budget."""
    ScheduleRun(problem, options or Options(), params or problem.space.default).run()


class ScheduleRun(TrainingRun):
    """One run: a network in training, its training levels and its sampling levels."""

    def __init__(self, problem: Problem, options: Options, params: Params) -> None:
        super().__init__(problem, params)
        self.options = options
        self.start = start = self.task.position(params)
        """Where both begin, `(d,)`."""
        self.position = start.clone().requires_grad_()
        """Training plan in the unit cube, `(d,)`."""
        self.sampling = start.clone().requires_grad_()
        """Plan whose sampling levels are being learned, `(d,)`."""
        self.slopes: list[Tensor] = []
        """The last few hypergradients in the training plan, `(d,)` each."""
        self.sampling_slopes: list[Tensor] = []
        """And of F in the sampling plan."""
        self.sampling_optimiser = torch.optim.Adam([self.sampling], betas=(0.8, 0.95))
        self.average = start.clone()
        """Plan whose sampling levels are delivered: a moving average of `sampling` in the last
        phase, `sampling` itself before it."""
        self.moments = Moments(options.memory)
        self.followed = 0
        """Steps that the plan has made during training."""
        self.spent = 0.0
        """Share of the run that they have taken."""
        self.compared = False
        """Whether the learned sampling levels have been compared with the start's."""
        self.tuning = False
        self.weight = 0.0
        """Weight of F beside L in the last phase: L0 / (gamma F0)."""

    def work(self, progress: float) -> None:
        options = self.options
        trained = progress / (1 - options.tail)
        if trained >= 1:
            self.tune((progress - (1 - options.tail)) / options.tail)
        elif self.spent <= OVERHEAD * progress and self.learns(trained):
            self.spent += self.progress() - progress
        else:
            self.task.train_step(self.training, self.levels, trained)

    # -- during training --------------------------------------------------------------------

    def learns(self, fraction: float) -> bool:
        """Make a step of the plan if one is due, `fraction` of the training being over."""
        options, (begin, end) = self.options, FOLLOWING
        share = self.followed / max(options.follow_steps, 1)
        learning = options.learn_training or options.learn_sampling
        if learning and share < 1 and begin + (end - begin) * share <= fraction < end:
            self.follow()
        elif fraction >= end and not self.compared and not torch.equal(self.sampling, self.start):
            self.compare()
        else:
            return False
        return True

    def follow(self) -> None:
        """One step of the training levels, and of the sampling levels."""
        task, options = self.task, self.options
        generator = task.generator(self.seed("follow"))
        left = 1 - self.followed / options.follow_steps
        levels = task.sampling_levels(
            self.sampling if options.learn_sampling else self.sampling.detach()
        )
        if options.learn_training == "response":
            found = influences(
                task, self.training, levels, options.follow_samples, options.follow_batches,
                generator,
            )  # fmt: skip
            trained = task.training_levels(self.position)
            gain = expected(found, trained) - options.entropy * entropy(trained)
            (slope,) = torch.autograd.grad(gain, self.position)
            share = reach(task.training_levels, self.position.detach())
            walk(self.position, self.slopes, slope, options.follow_rate * left * share)
        elif options.learn_sampling:
            noise = task.noise(options.follow_samples, generator)
            task.frechet_gradient(self.training.ema, levels, noise)
        if options.learn_training == "penalty":
            self.follow_penalty(generator)
        if self.sampling.grad is not None:
            slope, self.sampling.grad = self.sampling.grad, None
            walk(self.sampling, self.sampling_slopes, slope, options.sampling_rate * left)
            self.average.copy_(self.sampling.detach())
        self.levels = task.training_levels(self.position.detach())
        self.followed += 1

    def compare(self) -> None:
        """Go back to the start's sampling levels unless F is lower at those learned."""
        task, net = self.task, self.training.ema
        noise = task.noise(COMPARED, task.generator(self.seed("compare")))
        learned, start = (
            float(task.frechet(task.sample(net, task.sampling_levels(position.detach()), noise)))
            for position in (self.sampling, self.start)
        )
        if not learned < start:
            self.sampling.data.copy_(self.start)
            self.average.copy_(self.start)
        self.compared = True

    def follow_penalty(self, generator: torch.Generator) -> None:
        """A step of fixed length against the penalty gradient."""
        options, position = self.options, self.position.detach()
        weight = self.weigh(options.lookahead_gamma)
        gradient = penalty_gradient(
            self.task, self.training, position, weight, options.looking_ahead(), generator
        )
        step = options.trust * gradient / gradient.abs().amax().clamp(min=1e-30)
        self.position.data.copy_((position - step).clamp(0, 1))

    @staticmethod
    def step(optimiser: torch.optim.Optimizer, position: Tensor, rate: float) -> None:
        """A step of `position` at `rate`, kept in the box; its gradient is forgotten."""
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        optimiser.zero_grad()
        position.data.clamp_(0, 1)

    # -- the last phase ---------------------------------------------------------------------

    def tune(self, fraction: float) -> None:
        """A joint step on F / gamma + L, `fraction` of the last phase being over."""
        if not self.tuning:
            self.begin_tuning()
        self.distance_gradient()
        if self.options.weights:
            self.move_weights(1 - fraction)
        if self.options.sampling:
            rate = self.options.schedule_rate * (1 - fraction)
            self.step(self.sampling_optimiser, self.sampling, rate)
            self.average.lerp_(self.sampling.detach(), 1 - AVERAGING)

    def begin_tuning(self) -> None:
        """Go on from the average weights, and measure both levels there."""
        self.training.net.load_state_dict(self.training.ema.state_dict())
        self.training.restart(BETAS)
        self.average.copy_(self.sampling.detach())
        self.tuning = True
        self.weight = self.weigh(self.options.gamma, self.moments)

    def distance_gradient(self) -> None:
        """Accumulate the gradient of F in whatever may move, all from the same noise."""
        task, options = self.task, self.options
        noise = task.noise(options.samples, task.generator(self.seed("noise")))
        net = self.training.net if options.weights else self.training.ema  # that one is frozen
        sampling = self.sampling if options.sampling else self.sampling.detach()
        levels = task.sampling_levels(sampling)
        task.frechet_gradient(net, levels, noise, self.weight, self.moments)

    def move_weights(self, left: float) -> None:
        """A step of the weights, `left` of the last phase remaining."""
        task, training = self.task, self.training
        if self.options.loss:
            task.loss_gradient(training.net, self.levels, task.batch(training.generator))
        task.update(training, task.rate * self.options.rate * left, AVERAGING)

    def weigh(self, gamma: float, moments: Moments | None = None) -> float:
        """Measure both levels at the average weights; the weight of F beside L."""
        task, generator = self.task, self.task.generator(self.seed("weigh"))
        noise = task.noise(FIRST_SAMPLES, generator)
        levels = task.sampling_levels(self.sampling.detach())
        distance = task.frechet(task.sample(self.training.ema, levels, noise), moments)
        loss = task.loss(self.training.ema, self.levels, task.batch(generator))
        return float(loss / distance) / gamma

    # -- reports and resumption -------------------------------------------------------------

    def report(self) -> None:
        plans = self.params(self.position), self.params(self.average)
        self.problem.report(self.task.candidate(self.training.ema, *plans))

    def params(self, position: Tensor) -> Params:
        return self.problem.space.from_unit(position.detach().cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "position": self.position.detach().clone(),
            "slopes": list(self.slopes),
            "sampling_slopes": list(self.sampling_slopes),
            "sampling": self.sampling.detach().clone(),
            "sampling_optimiser": copy.deepcopy(self.sampling_optimiser.state_dict()),
            "average": self.average.clone(),
            "moments": (self.moments.first, self.moments.second),
            "followed": self.followed,
            "spent": self.spent,
            "compared": self.compared,
            "tuning": self.tuning,
            "weight": self.weight,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.position.data.copy_(state["position"])
        self.levels = self.task.training_levels(self.position.detach())
        for name in ("slopes", "sampling_slopes"):
            setattr(self, name, [slope.to(self.average) for slope in state[name]])
        self.sampling.data.copy_(state["sampling"])
        self.sampling_optimiser.load_state_dict(state["sampling_optimiser"])
        self.average.copy_(state["average"])
        self.moments = Moments(
            self.options.memory,
            *(x if x is None else x.to(self.average) for x in state["moments"]),
        )
        self.followed = state["followed"]
        self.spent = state["spent"]
        self.compared = state["compared"]
        self.tuning = state["tuning"]
        self.weight = state["weight"]
