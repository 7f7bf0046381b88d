"""Fine-tuning whose lower level is trained: weights follow r2 at a price on leaving the model.

The network that steers a reverse diffusion is trained by stochastic gradients through the sampler
(DRaFT, Clark et al., arXiv 2309.17400, with all steps kept) on

    -E[r2] + lambda · KL(path ‖ pre-trained path),

where the divergence of the sampling paths is the sum over steps of the divergence between the two
Gaussian transitions from the same place (Girsanov; the chain rule of KL). Among all laws of paths
from a start that says little about their end, the minimiser ends in
p_lambda ∝ p_data · exp(r2 / lambda), so this is the lower level of Xiao et al. (ICML 2025, arXiv
2502.08808, application 1) with the sampler's weights in the place of guidance. A trial is a
training.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tasks.base import Candidate, Task
from tasks.finetune.base import STRENGTH, child_seed, strengths
from tasks.finetune.rewards import Rewards
from tasks.space import Params, Space
from tasks.training import Training, TrainingOracles, TrainingTask, learning_rate

WARM_UP = 10
EMA = 0.9
"""Steps of the learning rate's warm-up, and share of itself that the moving average of the weights
keeps per step: trainings are short."""


class Path(NamedTuple):
    """Samples of a network in training, scored; with a graph where its weights require one."""

    rewards: Rewards
    divergence: Tensor
    """KL `(n,)` in nats of the sampling path from the pre-trained one, along each sample's own."""


class Weights(NamedTuple):
    """Weights of the terms of an objective: E[r1], E[r2], and the divergence of the paths."""

    upper: float = 0.0
    lower: float = 0.0
    divergence: float = 0.0


@runtime_checkable
class TrainedOracles(TrainingOracles, Protocol):
    """What a method may call of a task that is fine-tuned by training; see `TrainedTask`."""

    samples: int
    step_size: float

    def generator(self, seed: int) -> torch.Generator: ...

    def train_step(self, training: Training, condition: Tensor, fraction: float, /) -> Rewards: ...

    def candidate(self, net: nn.Module, params: Params, mix: float = 1.0) -> Candidate: ...

    def gradient(self, net: nn.Module, weights: Weights, generator: torch.Generator) -> Rewards: ...

    def scored(self, net: nn.Module, count: int, generator: torch.Generator) -> Rewards: ...

    def update(self, training: Training, rate: float, decay: float = EMA) -> None: ...


class TrainedTask(TrainingTask):
    """A pre-trained sampler, copies of which are fine-tuned at an entropy strength."""

    family = "finetune-trained"
    oracles: ClassVar[type] = TrainedOracles
    space = Space((STRENGTH,))
    step_size: ClassVar[float]
    """Peak learning rate of the lower level."""
    batch_size: ClassVar[int]
    """Samples of a training step."""
    steps: ClassVar[int]
    """Denoising steps of a sample."""
    samples: ClassVar[int]
    """Samples that a trial is scored by."""

    @abstractmethod
    def build(self) -> nn.Module:
        """A copy of the pre-trained network, trainable."""

    @abstractmethod
    def follow(
        self, net: nn.Module, count: int, generator: torch.Generator, mix: float = 1.0
    ) -> Path:
        """`count` scored samples steered by `net`, differentiable in its weights. Not charged.

        With `mix` m every transition is that of the law p_pretrained^(1 - m) · p_net^m.
        """

    def begin(self, seed: int) -> Training:
        return Training.begin(self.build(), self.generator(seed))

    def condition(self, params: Params) -> Tensor:
        """The entropy strengths, `(1,)`."""
        return strengths(params)

    def train_step(self, training: Training, condition: Tensor, fraction: float, /) -> Rewards:
        """One lower-level step at strengths `condition` `(1,)`, `fraction` of the horizon being
        over. Returns the rewards of the samples that it learned from, drawn before the step."""
        strength = float(condition)
        weights = Weights(lower=-1.0, divergence=strength)
        rewards = self._gradient("train_step", training.net, weights, training.generator)
        training.update(learning_rate(self.step_size, training.step, fraction, WARM_UP), EMA)
        return rewards

    def gradient(self, net: nn.Module, weights: Weights, generator: torch.Generator) -> Rewards:
        """Accumulate the gradient of an objective in the weights of `net` from one batch, drawn by
        `generator`; returns the rewards of the batch. Charged."""
        return self._gradient("gradient", net, weights, generator)

    def _gradient(
        self, operation: str, net: nn.Module, weights: Weights, generator: torch.Generator
    ) -> Rewards:
        with self.meter.charge(operation, train_images=self.batch_size):
            path = self.follow(net, self.batch_size, generator)
            means = (path.rewards.upper.mean(), path.rewards.lower.mean(), path.divergence.mean())
            terms = [weight * mean for weight, mean in zip(weights, means, strict=True) if weight]
            torch.autograd.backward(torch.stack(terms).sum())
            return Rewards(
                path.rewards.upper.detach(), path.rewards.lower.detach(), path.rewards.group
            )

    def update(self, training: Training, rate: float, decay: float = EMA) -> None:
        """A step of `training` at learning rate `rate` along the accumulated gradients; the average
        of its weights keeps a share `decay`."""
        with self.meter.charge("update"):
            training.update(rate, decay)

    def candidate(self, net: nn.Module, params: Params, mix: float = 1.0) -> Candidate:
        """A deliverable: a copy of the weights of `net`, sampled with `mix` (see `follow`)."""
        weights = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
        return Candidate(params, {"weights": weights, "mix": mix})

    def check(self, candidate: Candidate) -> None:
        self.space.validate(candidate.params)
        mix = candidate.state["mix"]
        if not (math.isfinite(mix) and mix >= 0):
            raise ValueError(f"a candidate's mix must be a number of at least 0, got {mix}")

    def network(self, candidate: Candidate) -> nn.Module:
        """The network that `candidate` delivers, frozen."""
        net = self.build()
        net.load_state_dict(candidate.state["weights"])
        return net.eval().requires_grad_(False)

    def scored(self, net: nn.Module, count: int, generator: torch.Generator) -> Rewards:
        """Rewards of `count` samples of `net`. Charged."""
        return self._path(net, count, generator).rewards

    def _path(
        self, net: nn.Module, count: int, generator: torch.Generator, mix: float = 1.0
    ) -> Path:
        work = {"nfe": count * self.steps, "scored_images": count}
        with self.meter.charge("sample", count, **work), torch.no_grad():
            return self.follow(net, count, generator, mix)

    def sampled(self, candidate: Candidate, count: int, seed: int) -> list[Path]:
        """`count` scored samples of `candidate` in batches of at most `samples`. Charged."""
        net, mix = self.network(candidate), candidate.state["mix"]
        paths = []
        for part, start in enumerate(range(0, count, self.samples)):
            size = min(self.samples, count - start)
            paths.append(self._path(net, size, self.generator(child_seed(seed, part)), mix))
        return paths

    def score(self, candidate: Candidate, seed: int) -> float:
        """-E[r1] over `samples` samples."""
        (path,) = self.sampled(candidate, self.samples, seed)
        return -float(path.rewards.upper.mean())

    def rehearse(self, seed: int) -> None:
        Task.rehearse(self, seed)  # not that of guided sampling, from which a task may derive
        training, generator = self.begin(seed), self.generator(seed)
        for _ in range(3):
            self.gradient(training.net, Weights(1.0, 0.0, 0.0), generator)
            self.update(training, 0.0)
