"""Noise schedules as in the code released with the paper (arXiv 2502.08808, Algorithm 6).

Kept as it was published, so that the paper's own algorithm can be compared with, at its
published settings. One outer iteration takes 10 steps of theta_y on the loss L, one step of
theta_z on F / gamma + L from where theta_y is, and one AdamW step of the schedule q along

    dF/dq / gamma + dL/dq(theta_z; q) - dL/dq(theta_y; q),

F the Fréchet distance of 36 samples, its gradient a zeroth-order difference over radius 0.01.
q = (start, end, tau, eps) is the cosine schedule of

    f(u) = cos((u (end - start) + start / T + eps) / (1 + eps) · pi/2)^(2 tau),

of whose first two only end - start acts: `start` is divided by the length T of the table. It
begins to move after two of three epochs of training, here two thirds of the budget.

Research code answers other questions than a benchmark asks; these are the places where we read
it as differing from the algorithm it describes, each with the option that replaces it, so that
their effects can be told apart:

- `common_noise`: the two sides of a difference start from different initial noise, which over
  a radius of 0.01 outweighs what the schedule does.
- `samples`: F of 36 samples is far from F, and noisy. `directions` averages over several.
- `true_theta_z`: the optimiser of theta_z holds the tensors of a network that was since
  replaced, so theta_z stays at theta_y and the difference of the two losses is the noise of
  two minibatches. True makes the steps, the gradient of F by the pathwise method: through a
  zeroth-order difference over all the weights next to nothing would arrive. What such steps
  cost in the released code without effect is not charged here.
- `shared_batch`: the two losses are taken on noise of their own. With true steps of theta_z,
  one batch for both leaves their difference and not that noise; without, it leaves zero.
- `perturb`: the schedule that is perturbed, and sampled from, belongs to a moving average and
  follows the one being learned from afar. "learned" takes F at theta_z and q itself.
- `steps`: AdamW's steps have about the length of their rates, whatever the gradient: 1 for tau
  in a box of length 3, and 0.05 for start, end and eps in boxes of 0.4, 0.2 and 0.035.
  `REPAIRED_STEPS` are a fiftieth of those lengths.

Training is the task's own: its batches, rates and averaging of weights (the schedule is
averaged at the same pace), its sampler, its selection split as reference of F. Sampling visits
evenly spaced entries of the table. The schedule stays in the box that the paper's Bayesian
baseline searches; the released loop only keeps start >= 0, end <= 1 and tau >= 1. A perturbed
schedule may leave the box, and has numbers there, which beyond a width of 1 the released form has
not. It starts at the published schedule, also on tasks whose own start is another. On tasks with
another space the nearest plan of that space is recorded, but the network is trained and sampled at
the levels of the cosine table. The network delivered is the average of theta_y.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from methods.base import Problem
from tasks.schedule import estimators
from tasks.schedule.oracles import ScheduleOracles
from tasks.schedule.plans import PUBLISHED, Plan, visited
from tasks.space import Params
from tasks.training import EMA, Training

BOX = {"start": (0.0, 0.4), "end": (0.8, 1.0), "tau": (1.0, 4.0), "eps": (0.005, 0.04)}
START = {"start": 0.0, "end": 1.0, "tau": 1.0, "eps": 0.008}
PUBLISHED_STEPS = (0.05, 0.05, 1.0, 0.05)
REPAIRED_STEPS = (0.008, 0.004, 0.06, 0.0007)
PERTURB = ("average", "learned")
END = 0.985
"""Share of the budget at which the last candidate is handed over."""
REPORTS = 11


@dataclass(frozen=True)
class Options:
    """Settings as published."""

    inner: int = 10
    """Steps of theta_y per outer iteration."""
    inner_z: int = 1
    """Steps of theta_z per outer iteration."""
    gamma: float = 1.0
    radius: float = 0.01
    """Radius of the zeroth-order difference, in the units of (start, end, tau, eps)."""
    steps: tuple[float, float, float, float] = PUBLISHED_STEPS
    """Highest rates of (start, end, tau, eps); see `one_cycle`."""
    initial: float = 2 / 3
    """Share of the budget before the schedule moves."""
    samples: int = 36
    directions: int = 1
    common_noise: bool = False
    true_theta_z: bool = False
    shared_batch: bool = False
    perturb: str = "average"

    def __post_init__(self) -> None:
        if self.perturb not in PERTURB:
            raise ValueError(f"perturb must be one of {', '.join(PERTURB)}, got {self.perturb!r}")
        if len(self.steps) != len(BOX):
            raise ValueError(f"steps must be {len(BOX)} rates, for {', '.join(BOX)}")


def run(problem: Problem, options: Options | None = None) -> None:
    """Train, move the schedule, and report until `END` of the budget."""
    ScheduleRun(problem, options or Options()).run()


class ScheduleRun:
    """One run. Points are `(4,)` float64: start, end, tau, eps."""

    def __init__(self, problem: Problem, options: Options) -> None:
        task = problem.oracles
        assert isinstance(task, ScheduleOracles)
        self.problem, self.task, self.options = problem, task, options
        self.training = task.begin(problem.seed("training"))
        """theta_y, in training."""
        self.joint: Training | None = None
        """theta_z, if it is ever to differ."""
        if options.true_theta_z:
            self.joint = Training.begin(copy.deepcopy(self.training.net), task.generator(0))
        self.learned = [
            torch.tensor(value, dtype=torch.float64, device=task.device).requires_grad_()
            for value in START.values()
        ]
        """The schedule being learned, a 0-d tensor per parameter."""
        self.average = self.point()
        self.optimiser = torch.optim.AdamW([{"params": [value]} for value in self.learned])
        self.iteration = 0
        self.stride = 0.0
        """Share of the run that the last iteration took: the next one must fit in."""
        self.reported = 0.0

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
            fixed = self.levels(self.point())
            for _ in range(self.options.inner):
                self.task.train_step(self.training, fixed, min(self.problem.progress / END, 1))
            if progress >= self.options.initial:
                self.move((progress - self.options.initial) / (1 - self.options.initial))
            self.iteration += 1
            before, progress = progress, self.problem.progress / END
            self.stride = progress - before
        self.report()

    def move(self, fraction: float) -> None:
        """A step of the schedule, `fraction` of the time that it moves being over."""
        net = self.joint_net(fraction)
        upper = self.upper_gradient(net)
        for value, slope, penalty in zip(
            self.learned, upper, self.penalty_gradient(net), strict=True
        ):
            value.grad = slope / self.options.gamma + penalty
        rate, momentum = one_cycle(fraction)
        for group, step in zip(self.optimiser.param_groups, self.options.steps, strict=True):
            group["lr"], group["betas"] = step * rate, (momentum, 0.999)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.place(bounded(self.point()))
        self.average.lerp_(self.point(), 1 - EMA**self.options.inner)

    def joint_net(self, fraction: float) -> nn.Module:
        """theta_z: theta_y after steps on F / gamma + L, or theta_y itself as published."""
        if self.joint is None:
            return self.training.net
        task, options, generator = self.task, self.options, self.generator("joint")
        fixed = self.levels(self.point())
        self.joint.net.load_state_dict(self.training.net.state_dict())
        for _ in range(options.inner_z):
            noise = task.noise(options.samples, generator)
            sampling = visited(fixed, task.evaluations)
            task.frechet_gradient(self.joint.net, sampling, noise, 1 / options.gamma)
            task.loss_gradient(self.joint.net, fixed, task.batch(generator))
            task.update(self.joint, task.rate * one_cycle(fraction)[0])
        return self.joint.net

    def upper_gradient(self, net: nn.Module) -> Tensor:
        """Zeroth-order dF/dq, `(4,)`."""
        averaged = self.options.perturb == "average"
        network = self.training.ema if averaged else net

        def distances(points: Tensor, seeds: Sequence[int]) -> Tensor:
            task, count = self.task, self.options.samples
            sets = torch.stack([visited(self.levels(q), task.evaluations) for q in points])
            noise = torch.stack([task.noise(count, task.generator(seed)) for seed in seeds])
            return torch.stack([task.frechet(x) for x in task.sample_each(network, sets, noise)])

        return estimators.two_point(
            estimators.Together(distances),
            self.average if averaged else self.point(),
            self.options.radius,
            self.generator("directions"),
            self.options.directions,
            common=self.options.common_noise,
        )

    def penalty_gradient(self, net: nn.Module) -> Tensor:
        """dL/dq at theta_z = `net` less dL/dq at theta_y, `(4,)`."""
        task, generator = self.task, self.generator("penalty")
        point = self.point().requires_grad_()
        levels = self.levels(point)
        batch = task.batch(generator)
        task.loss_gradient(net, levels, batch)
        if not self.options.shared_batch:
            batch = task.batch(generator)
        task.loss_gradient(self.training.net, levels, batch, -1.0)
        for used in (net, self.training.net):
            used.zero_grad()
        assert point.grad is not None
        return point.grad

    def levels(self, point: Tensor) -> Tensor:
        """Levels `(T,)` of the published table at `point`; differentiable."""
        return PUBLISHED.training(dict(zip(BOX, point.unbind(), strict=True)))

    def generator(self, purpose: str) -> torch.Generator:
        """Randomness of the present iteration, the same after a resumption."""
        return self.task.generator(self.problem.seed(purpose, self.iteration))

    def report(self) -> None:
        learned = self.point()
        sampled = self.average if self.options.perturb == "average" else learned
        shown = {f"sampling: {name}": x for name, x in named(sampled).items()}
        levels = visited(self.levels(sampled), self.task.evaluations)
        self.problem.report(
            self.task.candidate(self.training.ema, self.params(learned), levels=levels, shown=shown)
        )

    def params(self, point: Tensor) -> Params:
        """`point` in the task's space, or the nearest there."""
        plans = self.task.plans
        return plans.nearest(self.levels(point)) if isinstance(plans, Plan) else named(point)

    def point(self) -> Tensor:
        return torch.stack(self.learned).detach()

    def place(self, point: Tensor) -> None:
        """Put the learned schedule at `point`."""
        for value, new in zip(self.learned, point, strict=True):
            value.data.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        return {
            "training": self.training.state_dict(),
            "joint": None if self.joint is None else self.joint.state_dict(),
            "learned": self.point(),
            "average": self.average.clone(),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "iteration": self.iteration,
            "stride": self.stride,
            "reported": self.reported,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.training.load_state_dict(state["training"])
        if self.joint is not None:
            self.joint.load_state_dict(state["joint"])
        self.place(state["learned"])
        self.average.copy_(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.iteration = state["iteration"]
        self.stride = state["stride"]
        self.reported = state["reported"]


def one_cycle(fraction: float) -> tuple[float, float]:
    """Rate as a share of its highest, and the share that AdamW's first moment keeps.

    The policy of PyTorch's OneCycleLR (Smith & Topin, 2018, arXiv 1708.07120) in the settings
    of the released code: from 1/25 to 1 over the first quarter, then down to 1/250000, both
    along a cosine; the moment keeps 0.95, 0.85 at the highest rate, and 0.95 again.
    """
    rising = fraction < 0.25
    passed = fraction / 0.25 if rising else (fraction - 0.25) / 0.75
    height = (1 - math.cos(math.pi * min(passed, 1.0))) / 2
    height = height if rising else 1 - height
    floor = 1 / 25 if rising else 1 / 250_000
    return floor + (1 - floor) * height, 0.95 - 0.1 * height


def bounded(point: Tensor) -> Tensor:
    """The point of the published box nearest to `point` along each axis."""
    low, high = torch.tensor(list(BOX.values()), dtype=point.dtype, device=point.device).T
    return point.clamp(low, high)


def named(point: Tensor) -> Params:
    """`point` by name, cut off at the bounds of the box that floating point may miss."""
    values = zip(BOX.items(), point.cpu().tolist(), strict=True)
    return {name: min(max(x, low), high) for (name, (low, high)), x in values}
