"""Fine-tuning tasks whose samples are images: draws, scores and charges, whatever the model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from tasks.base import Candidate, Meter
from tasks.finetune.base import FinetuneTask, strengths
from tasks.finetune.rewards import Rewards
from tasks.finetune.sampling import LogTilt, Sampler, Samples
from tasks.finetune.solvers import LOOK_AHEAD, Batch, Solver
from tasks.space import Params


class Drawn(NamedTuple):
    """Images of a draw."""

    images: Tensor
    """`(n, channels, height, width)` in [-1, 1]."""
    labels: Tensor
    """What each was asked to show, `(n,)` long."""
    path_kl: Tensor
    """See `tasks.finetune.sampling.Samples`, `(n,)`."""


class Model(Protocol):
    """A pre-trained model that is asked for classes or prompts by number."""

    def sample(
        self,
        labels: Tensor,
        sampler: Sampler,
        generator: torch.Generator,
        log_tilt: LogTilt | None,
        meter: Meter,
    ) -> Samples:
        """Images `(n, channels, height, width)` in [-1, 1]."""
        ...


class ImageTask(FinetuneTask):
    """Guided sampling of images asked to show one of `groups` classes or prompts.

    Labels cycle through the groups, so every count of samples is balanced.
    """

    groups: ClassVar[int]
    batch: ClassVar[int]
    """Samples per primitive step."""
    sampler: Sampler
    model: Model

    def generate(
        self,
        labels: Tensor,
        sampler: Sampler,
        generator: torch.Generator,
        log_tilt: LogTilt | None,
    ) -> Samples:
        """Images asked to show `labels` `(n,)`; `log_tilt` is a function of images."""
        return self.model.sample(labels, sampler, generator, log_tilt, self.meter)

    @abstractmethod
    def lower(self, images: Tensor, labels: Tensor) -> Tensor:
        """r2 `(n,)`, differentiable."""

    @abstractmethod
    def upper(self, images: Tensor, labels: Tensor) -> Tensor:
        """r1 `(n,)`, differentiable."""

    def pool(self, count: int, seed: int) -> Rewards:
        return self._scored(self.draw(None, count, seed))

    def guided(self, params: Params, count: int, seed: int, solver: Solver = LOOK_AHEAD) -> Rewards:
        return self._scored(self.draw(params, count, seed, solver))

    def guided_each(self, points: Sequence[Params], count: int, seed: int) -> list[Rewards]:
        copies = len(points)
        generator = self.generator(seed)
        labels = torch.arange(self.whole_lots(count), device=self.device) % self.groups
        parts: list[list[Rewards]] = [[] for _ in points]
        for part in torch.split(labels, max(self.batch // copies, self.lot)):
            strength = torch.cat([self._strength(params, part) for params in points])
            asked = part.repeat(copies)
            sampler = replace(self.sampler, copies=copies)
            samples = self._solve(strength, asked, generator, sampler, LOOK_AHEAD)
            scored = self._score(samples.clean, asked)
            for collected, rewards in zip(parts, scored.chunk(copies), strict=True):
                collected.append(rewards)
        return [self.settle(Rewards.concatenate(collected).first(count)) for collected in parts]

    def whole_lots(self, count: int) -> int:
        """The smallest number of guided samples that can be drawn to have `count`."""
        return -(-count // self.lot) * self.lot

    def draw(
        self, params: Params | None, count: int, seed: int, solver: Solver = LOOK_AHEAD
    ) -> Drawn:
        """`count` images of the model guided at `params` (None: as it was pre-trained)."""
        generator = self.generator(seed)
        rows = count if params is None else self.whole_lots(count)
        labels = torch.arange(rows, device=self.device) % self.groups
        parts = []
        for part in torch.split(labels, self.batch):
            if params is None:
                samples = self.generate(part, self.sampler, generator, None)
            else:
                strength = self._strength(params, part)
                samples = self._solve(strength, part, generator, self.sampler, solver)
            parts.append(samples)
        return Drawn(
            torch.cat([part.clean for part in parts])[:count],
            labels[:count],
            torch.cat([part.path_kl for part in parts])[:count],
        )

    def images(self, candidate: Candidate, count: int, seed: int) -> np.ndarray:
        images = self.drawn(candidate, count, seed).images
        pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        return pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)

    def drawn(self, candidate: Candidate, count: int, seed: int) -> Drawn:
        """Fresh images of what `candidate` delivers."""
        return self.draw(candidate.params, count, seed, self.solver_of(candidate))

    @torch.no_grad()
    def rate(self, images: Tensor, labels: Tensor) -> Rewards:
        """Both rewards of images."""
        return Rewards(self.upper(images, labels), self.lower(images, labels), labels)

    def settle(self, rewards: Rewards) -> Rewards:
        """What the rewards of one whole draw come to, where samples bear on each other."""
        return rewards

    def _scored(self, drawn: Drawn) -> Rewards:
        parts = [
            self._score(images, labels)
            for images, labels in zip(
                torch.split(drawn.images, self.batch),
                torch.split(drawn.labels, self.batch),
                strict=True,
            )
        ]
        return self.settle(Rewards.concatenate(parts))

    def _score(self, images: Tensor, labels: Tensor) -> Rewards:
        with self.meter.charge("reward", len(images), scored_images=len(images)):
            return self.rate(images, labels)

    def _strength(self, params: Params, labels: Tensor) -> Tensor:
        """lambda of each sample, `(n,)`."""
        strength = strengths(params).to(self.device)
        return strength[labels] if len(strength) > 1 else strength.expand(len(labels))

    def _solve(
        self,
        strength: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        sampler: Sampler,
        solver: Solver,
    ) -> Samples:
        start = generator.get_state()
        path_kl = torch.empty(0)

        def generate(log_tilt: LogTilt | None, eta: float) -> Tensor:
            nonlocal path_kl
            generator.set_state(start)
            samples = self.generate(labels, replace(sampler, eta=eta), generator, log_tilt)
            path_kl = samples.path_kl
            return samples.clean

        images = solver.images(
            Batch(
                generate,
                lambda images: self.lower(images, labels),
                lambda images: self.upper(images, labels),
                strength,
                self.meter,
            )
        )
        return Samples(images, path_kl)
