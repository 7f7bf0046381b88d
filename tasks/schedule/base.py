"""The family of schedule tasks: train a diffusion model and choose its noise schedule.

Upper level: Fréchet distance of generated images to data. Lower level: noise prediction under
the schedule (Xiao et al., ICML 2025, arXiv 2502.08808, section 5 and algorithm 6). Training
and sampling need not share a schedule: a candidate carries both.

Oracles for first-order methods are the methods after `images`; each charges the meter once
per primitive, gradients included. Gradient oracles accumulate into `.grad` like a backward.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from tasks.base import Candidate, Metric, Task
from tasks.diffusion import ddim
from tasks.diffusion.ddim import Denoiser
from tasks.diffusion.precision import BFLOAT16, FULL, lowered
from tasks.metrics.frechet import FrechetReference, Moments
from tasks.oracles import Oracles
from tasks.schedule.schedules import COSINE, STEPS, ScheduleFamily
from tasks.schedule.training import (
    BATCH,
    EMA,
    Batch,
    Training,
    denoising_loss,
    draw,
    learning,
    learning_rate,
    normalisations,
)
from tasks.space import Params

Features = Callable[[Tensor], Tensor]


@runtime_checkable
class ScheduleOracles(Oracles, Protocol):
    """What a method may call of a schedule task; `ScheduleTask` documents the members."""

    device: str
    rate: float
    schedule: ScheduleFamily

    def begin(self, seed: int) -> Training: ...

    def generator(self, seed: int) -> torch.Generator: ...

    def alpha_bar(self, position: Tensor) -> Tensor: ...

    def table(self, params: Params) -> Tensor: ...

    def candidate(
        self,
        net: nn.Module,
        params: Params,
        sampling: Params | None = None,
        resume: dict[str, Any] | None = None,
    ) -> Candidate: ...

    def batch(self, generator: torch.Generator) -> Batch: ...

    def noise(self, count: int, generator: torch.Generator) -> Tensor: ...

    def train_step(self, training: Training, table: Tensor, fraction: float) -> None: ...

    def loss(self, net: nn.Module, table: Tensor, batch: Batch) -> Tensor: ...

    def loss_gradient(
        self, net: nn.Module, table: Tensor, batch: Batch, scale: float = 1.0
    ) -> Tensor: ...

    def sample(self, net: nn.Module, table: Tensor, noise: Tensor) -> Tensor: ...

    def sample_each(self, net: nn.Module, tables: Tensor, noise: Tensor) -> Tensor: ...

    def frechet(self, images: Tensor, moments: Moments | None = None) -> Tensor: ...

    def frechet_gradient(
        self,
        net: nn.Module,
        table: Tensor,
        noise: Tensor,
        scale: float = 1.0,
        moments: Moments | None = None,
    ) -> Tensor: ...

    def update(self, training: Training, rate: float, decay: float = EMA) -> None: ...


class ScheduleTask(Task):
    """A data set, a network and a family of schedules."""

    family = "schedule"
    oracles = ScheduleOracles
    citation = "Xiao et al., ICML 2025, arXiv:2502.08808"
    fidelities = True
    precisions: ClassVar[tuple[str, ...]] = (FULL, BFLOAT16)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("fid", "FID", log=True),
        Metric("fid2", "FID, second network", log=True),
        Metric("loss", "Denoising loss"),
    )
    schedule: ClassVar[ScheduleFamily] = COSINE
    space = COSINE.space
    trial_steps: ClassVar[int]
    """Training steps of the standard trial."""
    rate: ClassVar[float] = 2e-3
    """Peak learning rate of the lower level."""
    batch_size: ClassVar[int] = BATCH
    """Images of a training step."""
    selection_samples: ClassVar[int] = 1000
    report_samples: ClassVar[int] = 2000
    largest_batch: ClassVar[int] = 5000
    """Images sampled or measured at once; more take turns, so that memory does not decide."""
    recompute: ClassVar[bool] = False
    """Whether a gradient through the sampler keeps the graph of one step at a time: a tenth of the
    memory, and each step is taken twice."""
    clip: ClassVar[float | None] = 1.0
    """Bound on predicted clean images in sampling."""

    train_images: Tensor
    """What the lower level trains on, `(n, channels, height, width)`."""
    report_images: Tensor
    features: tuple[Features, Features]
    """The two feature maps, images to `(n, d)`; tuners see the first only."""
    selection_reference: FrechetReference
    """Selection split under the first feature map."""
    report_references: tuple[FrechetReference, FrechetReference]

    @abstractmethod
    def build(self) -> nn.Module:
        """A new denoiser on the CPU, its weights drawn from the global generator."""

    # -- the lower level --------------------------------------------------------------------

    def begin(self, seed: int) -> Training:
        """The state before the first training step; the same seed gives the same start."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self.build().to(self.device)
        return Training.begin(net, self.generator(seed))

    def generator(self, seed: int) -> torch.Generator:
        """A seeded generator on the task's device."""
        return torch.Generator(self.device).manual_seed(seed)

    def alpha_bar(self, position: Tensor) -> Tensor:
        """The schedule `(T,)` at `position` in the unit cube of the space; differentiable."""
        return self.schedule.alpha_bar(position)

    def table(self, params: Params) -> Tensor:
        """The schedule `(T,)` at `params`, on the task's device."""
        return self.alpha_bar(torch.as_tensor(self.space.to_unit(params), device=self.device))

    def iterate(
        self,
        params: Params,
        stops: Sequence[float],
        seed: int,
        progress: Callable[[], float] | None = None,
        resume: dict[str, Any] | None = None,
    ) -> Iterator[Candidate]:
        training = self.begin(seed)
        passed = 0.0
        if resume is not None:
            training.load_state_dict(resume["training"])
            passed = resume["stop"]

        def position() -> float:
            return training.step / self.trial_steps if progress is None else progress()

        table = self.table(params)
        for stop in stops:
            if stop <= passed:
                continue
            while (now := position()) < stop:
                self.train_step(training, table, now / stops[-1])
            yield self.candidate(training.ema, params, resume={
                "training": training.state_dict(), "stop": stop
            })  # fmt: skip

    def candidate(
        self,
        net: nn.Module,
        params: Params,
        sampling: Params | None = None,
        resume: dict[str, Any] | None = None,
    ) -> Candidate:
        """What `net`, trained under `params`, delivers when sampled under `sampling` (default:
        `params`). The weights are copied, and `sampling` is shown if given."""
        weights = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
        state = {"weights": weights, "sampling": params if sampling is None else sampling}
        shown = {f"sampling: {name}": value for name, value in (sampling or {}).items()}
        return Candidate(params, state, resume, shown)

    def check(self, candidate: Candidate) -> None:
        super().check(candidate)
        self.space.validate(candidate.state["sampling"])

    # -- scores -----------------------------------------------------------------------------

    def score(self, candidate: Candidate, seed: int) -> float:
        noise = self.noise(self.selection_samples, self.generator(seed))
        table = self.table(candidate.state["sampling"])
        return float(self.frechet(self.sample(self._net(candidate), table, noise)))

    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        images = self._samples(candidate, self.report_samples, seed)
        batch = draw(self.report_images, STEPS, self.generator(seed), self.report_samples)
        with torch.no_grad():
            loss = denoising_loss(self._net(candidate), self.table(candidate.params), batch)
        return self.distances(images) | {"loss": float(loss)}

    def distances(self, images: Tensor) -> dict[str, float]:
        """The reported distances of generated `images`."""
        first, second = (self.measured(features, images) for features in self.features)
        return self.compared(first, second)

    def compared(self, first: Tensor, second: Tensor) -> dict[str, float]:
        """The reported distances of images with these features, `(n, d)` under either map."""
        one, other = self.report_references
        return {"fid": float(one.distance(first)), "fid2": float(other.distance(second))}

    def measured(self, features: Features, images: Tensor) -> Tensor:
        """Features `(n, d)` of any number of images."""
        return torch.cat([features(part) for part in torch.split(images, self.largest_batch)])

    def images(self, candidate: Candidate, count: int, seed: int) -> np.ndarray | None:
        samples = self._samples(candidate, count, seed).clamp(-1, 1)
        tiles = samples[:, 0] if samples.shape[1] == 1 else samples.permute(0, 2, 3, 1)
        return ((tiles + 1) * 127.5).round().byte().cpu().numpy()

    def evaluator(self) -> dict[str, Any]:
        return {
            "sampler": f"DDIM, {ddim.STEPS} steps",
            "selection_samples": self.selection_samples,
            "report_samples": self.report_samples,
        }

    def _net(self, candidate: Candidate) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            net = self.build()
        net.load_state_dict(candidate.state["weights"])
        return net.to(self.device).eval().requires_grad_(False)

    def _samples(self, candidate: Candidate, count: int, seed: int) -> Tensor:
        """For reported metrics: in full precision, whatever the run's."""
        table = self.table(candidate.state["sampling"])
        return self._sample(self._net(candidate), table, self.noise(count, self.generator(seed)))

    # -- oracles ----------------------------------------------------------------------------

    def batch(self, generator: torch.Generator) -> Batch:
        """A random training batch: share it between two losses to compare them."""
        return draw(self.train_images, STEPS, generator, self.batch_size)

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Initial noise for `count` images."""
        shape = (count, *self.train_images.shape[1:])
        dtype = self.train_images.dtype
        return torch.randn(shape, generator=generator, device=self.device, dtype=dtype)

    def denoiser(self, net: nn.Module) -> Denoiser:
        """`net` in the task's precision."""
        return lowered(net, self.precision)

    def train_step(self, training: Training, table: Tensor, fraction: float) -> None:
        """One lower-level step under `table`, `fraction` of the horizon being over."""
        batch = self.batch(training.generator)
        with self.meter.charge("train_step", train_images=len(batch.images)):
            with learning(training.normalisations):
                torch.autograd.backward(denoising_loss(self.denoiser(training.net), table, batch))
            training.update(learning_rate(self.rate, training.step, fraction))

    def loss(self, net: nn.Module, table: Tensor, batch: Batch) -> Tensor:
        """Lower-level loss, 0-d, without a graph."""
        with self.meter.charge("loss", nfe=len(batch.images)), torch.no_grad():
            return denoising_loss(self.denoiser(net), table, batch)

    def loss_gradient(
        self, net: nn.Module, table: Tensor, batch: Batch, scale: float = 1.0
    ) -> Tensor:
        """Lower-level loss, 0-d, after accumulating `scale` times its gradient in the weights
        of `net` and in what `table` was computed from, wherever either requires one."""
        leaf = table.detach().requires_grad_(table.requires_grad)
        with self.meter.charge("loss_gradient", train_images=len(batch.images)):
            with learning(normalisations(net)):
                value = denoising_loss(self.denoiser(net), leaf, batch)
            torch.autograd.backward(scale * value)
        if table.requires_grad:
            torch.autograd.backward(table, leaf.grad, retain_graph=True)
        return value.detach()

    def sample(self, net: nn.Module, table: Tensor, noise: Tensor) -> Tensor:
        """Images from initial `noise`, without a graph."""
        return self._sample(self.denoiser(net), table, noise)

    def _sample(self, denoiser: Denoiser, table: Tensor, noise: Tensor) -> Tensor:
        parts = torch.split(noise, self.largest_batch)
        return torch.cat([ddim.sample(denoiser, table, x, self.meter, self.clip) for x in parts])

    def sample_each(self, net: nn.Module, tables: Tensor, noise: Tensor) -> Tensor:
        """Images under each of `tables` `(groups, T)` from its part of `noise` `(groups, n, ...)`,
        of the same shape. A GPU samples what fits in one batch; the charges are those of `sample`,
        group by group."""
        groups = self._together(noise.shape[1])
        if groups < 2:
            pairs = zip(tables, noise, strict=True)
            return torch.stack([self.sample(net, table, start) for table, start in pairs])
        parts = zip(torch.split(tables, groups), torch.split(noise, groups), strict=True)
        return torch.cat([
            ddim.sample(
                self.denoiser(net), part, start.flatten(0, 1), self.meter, self.clip
            ).view_as(start)
            for part, start in parts
        ])  # fmt: skip

    def _together(self, count: int) -> int:
        """Groups of `count` images in one batch. On a CPU one: to embed a noise level for every
        row, and not one for all, costs it more than larger batches save."""
        return 1 if self.device == "cpu" else self.largest_batch // count

    def frechet(self, images: Tensor, moments: Moments | None = None) -> Tensor:
        """Fréchet distance, 0-d, of generated `images` to the selection split; of `moments` with
        the images blended in, if given."""
        with (
            self.meter.charge("frechet", count=len(images), scored_images=len(images)),
            torch.no_grad(),
        ):
            return self._distance(self.measured(self.features[0], images), moments)

    def frechet_gradient(
        self,
        net: nn.Module,
        table: Tensor,
        noise: Tensor,
        scale: float = 1.0,
        moments: Moments | None = None,
    ) -> Tensor:
        """Fréchet distance, 0-d, of the images sampled from `noise`, after accumulating `scale`
        times its pathwise gradient like `loss_gradient` does; with `moments` as in `frechet`."""

        def objective(images: Tensor) -> Tensor:
            return scale * self._distance(self.features[0](images), moments)

        denoiser = self.denoiser(net)
        value = ddim.pathwise_backward(
            denoiser, table, noise, objective, self.meter, self.clip, self.recompute
        )
        return value / scale

    def _distance(self, features: Tensor, moments: Moments | None) -> Tensor:
        if moments is None:
            return self.selection_reference.distance(features)
        return self.selection_reference.distance_to(*moments.update(features))

    def update(self, training: Training, rate: float, decay: float = EMA) -> None:
        """A step of `training` at learning rate `rate`, along the gradients that the oracles
        above accumulated; the average of its weights keeps a share `decay`."""
        with self.meter.charge("update"):
            training.update(rate, decay)

    def rehearse(self, seed: int) -> None:
        super().rehearse(seed)
        training = self.begin(seed)
        generator = self.generator(seed)
        position = torch.as_tensor(self.space.to_unit(self.space.default), device=self.device)
        for _ in range(3):
            table = self.alpha_bar(position.requires_grad_())
            batch = self.batch(generator)
            self.loss(training.net, table, batch)
            self.loss_gradient(training.net, table, batch)
            self.frechet_gradient(training.net, table, self.noise(128, generator))
            self.update(training, 0.0)
