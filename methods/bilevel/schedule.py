"""Generative bilevel optimisation of noise levels (arXiv 2502.08808, Algorithm 6).

Upper level: Fréchet distance F(theta, q) of samples under the plan q. Lower level: denoising loss
L(theta; q). One run trains one network and learns on the way what it trains on and how it is
sampled.

**Training levels** (`learn_training`). "response": a dozen times in a run the influence of every
noise level on F is measured, one step deep (`methods.bilevel.response`), and the plan takes a step
against the mean of the last few hypergradients, in those coordinates in which it stands out from
their noise: where there is nothing to gain, it stays. "penalty" is the paper's form of the same
(`methods.bilevel.penalty`). The partial gradient dF/dq at fixed weights is zero here: training
levels reach F through the weights alone.

**Sampling levels** (`learn_sampling`) follow the pathwise gradient of F through the sampler late in
the run, from the averaged weights; a network that still changes asks for other levels than in the
end. They are kept only if F is lower than at the start's levels by more than its noise.

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
from methods.bilevel.response import expected, influences, significant
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
"""Shares of the training phase between which the training levels move: not before there is
something to sample, and not when the weights can no longer follow."""
WINDOW = 6
"""Hypergradients whose mean is followed, at most."""
LATE = 0.85
"""Share of the training phase after which the sampling levels are learned."""
COMPARED = 6
"""Batches over which learned sampling levels are compared with the start's, with common noise."""

OVERHEAD = 0.15
"""Largest share of the time that steps of the plan may have taken before another one: where a run
is short, it makes fewer."""


@dataclass(frozen=True)
class Options:
    """Settings of the run."""

    learn_training: str = "response"
    """How the training levels are learned: "response", "penalty" or, empty, not at all."""
    learn_sampling: bool = False
    """Whether the sampling levels are learned late in training. Off: on digits no learned levels
    proved better than the start's, and trying took 3 % of the run."""
    follow_steps: int = 12
    """Steps of the plan during training."""
    follow_rate: float = 0.06
    """Their largest length at first, in unit-cube coordinates; it falls to zero."""
    sampling_steps: int = 6
    """Steps of the sampling levels."""
    sampling_rate: float = 0.02
    """Their length at first."""
    follow_samples: int = 128
    """Images per gradient of F."""
    follow_batches: int = 2
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


def run(problem: Problem, options: Options | None = None, params: Params | None = None) -> None:
    """Train from scratch from `params` (the default plan if left out), learn, and report, from
    the present progress until the end of the budget."""
    ScheduleRun(problem, options or Options(), params or problem.space.default).run()


class ScheduleRun(TrainingRun):
    """One run: a network in training, its training levels and its sampling levels."""

    def __init__(self, problem: Problem, options: Options, params: Params) -> None:
        super().__init__(problem, params)
        self.options = options
        start = self.task.position(params)
        self.position = start.clone().requires_grad_()
        """Training plan in the unit cube, `(d,)`."""
        self.slopes: list[Tensor] = []
        """The last few hypergradients in the training plan, `(d,)` each."""
        self.sampling = start.clone().requires_grad_()
        """Plan whose sampling levels are being learned, `(d,)`."""
        self.sampling_optimiser = torch.optim.Adam([self.sampling], betas=(0.8, 0.95))
        self.average = start.clone()
        """Plan whose sampling levels are delivered: a moving average of `sampling` in the last
        phase, before it the start until `sampling` has proved better."""
        self.moments = Moments(options.memory)
        self.followed = 0
        """Steps that the plan has made during training."""
        self.spent = 0.0
        """Share of the run that they have taken."""
        self.tried = 0
        """Steps of the sampling levels, with those of their comparison."""
        self.gains: list[Tensor] = []
        """By how much F was lower, 0-d each, at the learned sampling levels than at the start's."""
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
        if options.learn_training and share < 1 and fraction >= begin + (end - begin) * share:
            self.follow()
        elif options.learn_sampling and fraction >= LATE and len(self.gains) < COMPARED:
            self.learn_sampling()
        else:
            return False
        return True

    def follow(self) -> None:
        """One step of the training levels."""
        task, options = self.task, self.options
        generator = task.generator(self.seed("follow"))
        if options.learn_training == "response":
            sampling = task.sampling_levels(self.average)
            found = influences(
                task, self.training, sampling, options.follow_samples, options.follow_batches,
                generator,
            )  # fmt: skip
            mean = expected(found, task.training_levels(self.position))
            self.slopes.append(torch.autograd.grad(mean, self.position)[0])
            self.slopes = self.slopes[-WINDOW:]
            rate = options.follow_rate * (1 - self.followed / options.follow_steps)
            self.position.data.sub_(rate * significant(self.slopes)).clamp_(0, 1)
        else:
            self.follow_penalty(generator)
        self.levels = task.training_levels(self.position.detach())
        self.followed += 1

    def learn_sampling(self) -> None:
        """A step of the sampling levels from the averaged weights, or, after all of them, a batch
        for their comparison with the start's; after its last one the better levels are kept."""
        task, options, net = self.task, self.options, self.training.ema
        noise = task.noise(options.samples, task.generator(self.seed("sampling")))
        if self.tried < options.sampling_steps:
            task.frechet_gradient(net, task.sampling_levels(self.sampling), noise)
            rate = options.sampling_rate * (1 - self.tried / options.sampling_steps)
            self.step(self.sampling_optimiser, self.sampling, rate)
        else:
            pair = (task.sampling_levels(x.detach()) for x in (self.average, self.sampling))
            old, new = (task.frechet(task.sample(net, levels, noise)) for levels in pair)
            self.gains.append(old - new)
        self.tried += 1
        if len(self.gains) == COMPARED:
            if significant(self.gains) > 0:
                self.average.copy_(self.sampling.detach())
            self.sampling.data.copy_(self.average)

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
            "sampling": self.sampling.detach().clone(),
            "sampling_optimiser": copy.deepcopy(self.sampling_optimiser.state_dict()),
            "average": self.average.clone(),
            "moments": (self.moments.first, self.moments.second),
            "followed": self.followed,
            "spent": self.spent,
            "tried": self.tried,
            "gains": list(self.gains),
            "tuning": self.tuning,
            "weight": self.weight,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.position.data.copy_(state["position"])
        self.levels = self.task.training_levels(self.position.detach())
        self.slopes = [slope.to(self.average) for slope in state["slopes"]]
        self.sampling.data.copy_(state["sampling"])
        self.sampling_optimiser.load_state_dict(state["sampling_optimiser"])
        self.average.copy_(state["average"])
        self.moments = Moments(
            self.options.memory,
            *(x if x is None else x.to(self.average) for x in state["moments"]),
        )
        self.followed = state["followed"]
        self.spent = state["spent"]
        self.tried = state["tried"]
        self.gains = list(state["gains"])
        self.tuning = state["tuning"]
        self.weight = state["weight"]
