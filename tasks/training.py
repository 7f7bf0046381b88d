"""Tasks whose lower level is the training of a network: a solve is a training.

A method that trains networks in its own order (population-based training, a single run that
tunes as it trains) needs four oracles of such a task and may then work on any family of them.

A `Training` is everything that a training run carries from step to step; what it sees next is a
function of that alone, so a run restored from `state_dict` goes on bit for bit on CPU.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tasks.base import Candidate, Task
from tasks.oracles import Oracles
from tasks.space import Params

WARM_UP = 50
DECAY_FROM = 0.6
EMA = 0.99


def learning_rate(peak: float, step: int, fraction: float, warm_up: int = WARM_UP) -> float:
    """Rate at `step`, `fraction` of the horizon being over: linear warm-up to `peak` in so many
    steps, constant, and linear decay to zero from `DECAY_FROM` on."""
    warm = min((step + 1) / warm_up, 1.0)
    return peak * warm * min((1 - fraction) / (1 - DECAY_FROM), 1.0)


def normalisations(net: nn.Module) -> list[nn.BatchNorm2d]:
    """The layers of `net` that behave otherwise in training: empty for most networks here."""
    return [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]


@contextmanager
def learning(layers: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """Let batch normalisation use, and remember, the batches seen inside."""
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer in layers:
            layer.eval()


def statistics(layers: Sequence[nn.BatchNorm2d]) -> list[Tensor]:
    """Running statistics of batch normalisation."""
    return [kept for m in layers for kept in (m.running_mean, m.running_var) if kept is not None]


@dataclass
class Training:
    """A network in training, the moving average of its weights, and its randomness.

    Statistics of batch normalisation are averaged like weights. Both networks are in evaluation
    mode, except inside `learning`.
    """

    net: nn.Module
    ema: nn.Module
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    step: int = 0

    def __post_init__(self) -> None:
        self._weights: list[Tensor] = list(self.net.parameters())
        self.normalisations = normalisations(self.net)
        """Kept, because to look for them takes 2 % of a step on small networks."""
        self._statistics = statistics(self.normalisations)
        self._average: list[Tensor] = list(self.ema.parameters())
        self._average_statistics = statistics(normalisations(self.ema))
        self.net.eval()
        self.ema.eval()

    @classmethod
    def begin(cls, net: nn.Module, generator: torch.Generator) -> Training:
        """Training of `net` from its present weights."""
        ema = copy.deepcopy(net).requires_grad_(False)
        optimiser = torch.optim.AdamW(net.parameters(), fused=True)
        return cls(net, ema, optimiser, generator)

    @torch.no_grad()
    def update(self, rate: float, decay: float = EMA) -> None:
        """Step along the gradients at a learning rate and forget them; the moving average
        keeps a share `decay` of itself."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        for weight in self._weights:
            weight.grad = None
        torch._foreach_lerp_(self._average, self._weights, 1 - decay)
        if self._statistics:
            torch._foreach_lerp_(self._average_statistics, self._statistics, 1 - decay)
        self.step += 1

    def restart(self, betas: tuple[float, float]) -> None:
        """Forget what the optimiser remembers of gradients, and average them by `betas` now."""
        self.optimiser.state.clear()
        for group in self.optimiser.param_groups:
            group["betas"] = betas

    def state_dict(self) -> dict[str, Any]:
        """A copy of the whole state: nested dicts of tensors and numbers."""
        return copy.deepcopy(
            {
                "net": self.net.state_dict(),
                "ema": self.ema.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "generator": self.generator.get_state(),
                "step": self.step,
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, leaving `state` untouched."""
        state = copy.deepcopy(state)
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.step = state["step"]


@runtime_checkable
class TrainingOracles(Oracles, Protocol):
    """What a method may call of any task that trains; `TrainingTask` documents the members."""

    def begin(self, seed: int) -> Training: ...

    def condition(self, params: Params) -> Tensor: ...

    def train_step(self, training: Training, condition: Tensor, fraction: float, /) -> object: ...

    def candidate(self, net: nn.Module, params: Params) -> Candidate: ...


class TrainingTask(Task):
    """A lower level that is trained from a seeded start for as many steps as there are."""

    fidelities = True
    trial_steps: ClassVar[int]
    """Training steps of the standard trial."""

    @abstractmethod
    def begin(self, seed: int) -> Training:
        """The state before the first training step; the same seed gives the same start. A copy of
        a training is `copy.deepcopy` of it, or a `load_state_dict` into another one."""

    @abstractmethod
    def condition(self, params: Params) -> Tensor:
        """What a training step at `params` is told of them."""

    @abstractmethod
    def train_step(self, training: Training, condition: Tensor, fraction: float, /) -> object:
        """One training step under `condition`, `fraction` of the horizon being over. Charged."""

    @abstractmethod
    def candidate(self, net: nn.Module, params: Params) -> Candidate:
        """A deliverable: a copy of the weights of `net`, trained under `params`."""

    def generator(self, seed: int) -> torch.Generator:
        """A seeded generator on the task's device."""
        return torch.Generator(self.device).manual_seed(seed)

    def iterate(
        self,
        params: Params,
        stops: Sequence[float],
        seed: int,
        progress: Callable[[], float] | None = None,
        resume: dict[str, Any] | None = None,
    ) -> Iterator[Candidate]:
        """Train under `params`; a candidate has the averaged weights, and can be resumed from."""
        training = self.begin(seed)
        passed = 0.0
        if resume is not None:
            training.load_state_dict(resume["training"])
            passed = resume["stop"]

        def position() -> float:
            return training.step / self.trial_steps if progress is None else progress()

        condition = self.condition(params)
        for stop in stops:
            if stop <= passed:
                continue
            while (now := position()) < stop:
                self.train_step(training, condition, now / stops[-1])
            candidate = self.candidate(training.ema, params)
            candidate.resume = {"training": training.state_dict(), "stop": stop}
            yield candidate
