"""The metered oracles of the schedule family: all of a task that a method is handed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tasks.base import Candidate
from tasks.metrics.frechet import Moments
from tasks.schedule.plans import PlanFamily
from tasks.schedule.training import Batch
from tasks.space import Params
from tasks.training import EMA, Training, TrainingOracles


@runtime_checkable
class ScheduleOracles(TrainingOracles, Protocol):
    """What a method may call of a schedule task; `ScheduleTask` documents the members."""

    device: str
    rate: float
    plans: PlanFamily
    evaluations: int

    def generator(self, seed: int) -> torch.Generator: ...

    def position(self, params: Params) -> Tensor: ...

    def training_levels(self, position: Tensor) -> Tensor: ...

    def sampling_levels(self, position: Tensor) -> Tensor: ...

    def candidate(
        self,
        net: nn.Module,
        params: Params,
        sampling: Params | None = None,
        levels: Tensor | None = None,
        resume: dict[str, Any] | None = None,
        shown: dict[str, float] | None = None,
    ) -> Candidate: ...

    def batch(self, generator: torch.Generator) -> Batch: ...

    def noise(self, count: int, generator: torch.Generator) -> Tensor: ...

    def loss(self, net: nn.Module, levels: Tensor, batch: Batch) -> Tensor: ...

    def losses(self, net: nn.Module, levels: Tensor, batch: Batch) -> Tensor: ...

    def loss_gradient(
        self, net: nn.Module, levels: Tensor, batch: Batch, scale: float = 1.0
    ) -> Tensor: ...

    def sample(self, net: nn.Module, levels: Tensor, noise: Tensor) -> Tensor: ...

    def sample_each(self, net: nn.Module, levels: Tensor, noise: Tensor) -> Tensor: ...

    def frechet(self, images: Tensor, moments: Moments | None = None) -> Tensor: ...

    def frechet_gradient(
        self,
        net: nn.Module,
        levels: Tensor,
        noise: Tensor,
        scale: float = 1.0,
        moments: Moments | None = None,
    ) -> Tensor: ...

    def pathwise_gradient(
        self, net: nn.Module, levels: Tensor, noise: Tensor, objective: Callable[[Tensor], Tensor]
    ) -> Tensor: ...

    def update(self, training: Training, rate: float, decay: float = EMA) -> None: ...
