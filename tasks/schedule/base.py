"""The family of schedule tasks: train a diffusion model and choose its noise schedule.

Upper level: Fréchet distance of generated images to data. Lower level: noise prediction at the
training levels of a plan (Xiao et al., ICML 2025, arXiv 2502.08808, section 5 and algorithm 6).
A plan has noise levels for training and for sampling; see `tasks.schedule.plans`.

Oracles for first-order methods are the methods after `images`; each charges the meter once
per primitive, gradients included. Gradient oracles accumulate into `.grad` like a backward.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tasks.base import Candidate, Metric
from tasks.diffusion import sampler
from tasks.diffusion.precision import BFLOAT16, FULL, lowered
from tasks.diffusion.sampler import SOLVERS, Denoiser
from tasks.metrics.frechet import FrechetReference, Moments
from tasks.schedule.oracles import ScheduleOracles
from tasks.schedule.plans import PLAN, TABLE, PlanFamily, refined
from tasks.schedule.training import BATCH, Batch, denoising_loss, draw, losses_by_level
from tasks.space import Params
from tasks.training import EMA, Training, TrainingTask, learning, learning_rate, normalisations

Features = Callable[[Tensor], Tensor]


class ScheduleTask(TrainingTask):
    """A data set, a network and a family of plans."""

    family = "schedule"
    oracles: ClassVar[type] = ScheduleOracles
    citation = "Xiao et al., ICML 2025, arXiv:2502.08808"
    precisions: ClassVar[tuple[str, ...]] = (FULL, BFLOAT16)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("fid", "FID", log=True),
        Metric("fid2", "FID, second network", log=True, confirms=True),
        Metric("loss", "Denoising loss at common levels"),
    )
    plans: ClassVar[PlanFamily] = PLAN
    space = PLAN.space
    evaluations: ClassVar[int] = sampler.STEPS
    """Network evaluations per sampled image."""
    solver: ClassVar[str] = "DPM-Solver++(2M)"
    """One of `sampler.SOLVERS`."""
    rate: ClassVar[float] = 2e-3
    """Peak learning rate of the lower level."""
    batch_size: ClassVar[int] = BATCH
    """Images of a training step."""
    selection_samples: ClassVar[int] = 1000
    report_samples: ClassVar[int] = 2000
    largest_batch: ClassVar[int] = 5000
    """Images sampled or measured at once; larger requests are processed in chunks."""
    recompute: ClassVar[bool] = False
    """Whether a gradient through the sampler keeps the graph of one step at a time: a tenth of the
    memory, and each step is computed twice."""
    clip: ClassVar[float | None] = 1.0
    """Bound on predicted clean images in sampling."""

    train_images: Tensor
    """Images that the lower level trains on, `(n, channels, height, width)`."""
    report_images: Tensor
    features: Features
    """The feature map that methods select on and differentiate, images to `(n, d)`."""
    selection_reference: FrechetReference
    """Selection split under `features`."""

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

    def position(self, params: Params) -> Tensor:
        """`params` in the unit cube of the space, `(d,)` float64 on the task's device."""
        return torch.as_tensor(self.space.to_unit(params), device=self.device)

    def training_levels(self, position: Tensor) -> Tensor:
        """Training levels `(TABLE,)` at `position` `(d,)` in the unit cube; differentiable."""
        return self.plans.training_levels(position)

    def condition(self, params: Params) -> Tensor:
        """The training levels of `params`."""
        return self.training_levels(self.position(params))

    def sampling_levels(self, position: Tensor) -> Tensor:
        """Sampling levels `(evaluations,)` at `position` `(d,)`; differentiable."""
        return self.plans.sampling_levels(position, self.evaluations)

    def candidate(
        self,
        net: nn.Module,
        params: Params,
        sampling: Params | None = None,
        levels: Tensor | None = None,
        resume: dict[str, Any] | None = None,
        shown: dict[str, float] | None = None,
    ) -> Candidate:
        """A deliverable: a copy of the weights of `net`, trained under `params`.

        It is sampled at the sampling levels of `sampling`, by default of `params`; or at `levels`
        `(evaluations,)`, which need not be in the family. `shown` are numbers to record.
        """
        weights = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
        shown = dict(shown or {})
        if sampling is not None:
            own = {name: sampling[name] for name in self.plans.sampling_names}
            if self.plans.coupled:
                levels = self.sampling_levels(self.position(sampling))
                shown |= {f"sampling: {name}": value for name, value in own.items()}
            else:
                params = params | own
        free = None if levels is None else checked_levels(levels.detach(), self.evaluations)
        return Candidate(params, {"weights": weights, "levels": free}, resume, shown)

    def check(self, candidate: Candidate) -> None:
        super().check(candidate)
        if candidate.state["levels"] is not None:
            checked_levels(candidate.state["levels"], self.evaluations)

    # -- scores -----------------------------------------------------------------------------

    def score(self, candidate: Candidate, seed: int) -> float:
        noise = self.noise(self.selection_samples, self.generator(seed))
        levels = self.delivered_levels(candidate, self.evaluations)
        return float(self.frechet(self.sample(self.network(candidate), levels, noise)))

    def delivered_levels(self, candidate: Candidate, evaluations: int) -> Tensor:
        """Levels `(evaluations,)` at which `candidate` is sampled with so many evaluations."""
        own = candidate.state["levels"]
        if own is None:
            return self.plans.sampling_levels(self.position(candidate.params), evaluations)
        own = checked_levels(own, self.evaluations).to(self.device)
        return own if evaluations == len(own) else refined(own, evaluations)

    def network(self, candidate: Candidate) -> nn.Module:
        """The denoiser that `candidate` delivers, frozen."""
        with torch.random.fork_rng(devices=[]):
            net = self.build()
        net.load_state_dict(candidate.state["weights"])
        return net.to(self.device).eval().requires_grad_(False)

    def generated(
        self, candidate: Candidate, count: int, seed: int, evaluations: int | None = None
    ) -> Tensor:
        """`count` images for reporting: in full precision, whatever the run's."""
        levels = self.delivered_levels(candidate, evaluations or self.evaluations)
        noise = self.noise(count, self.generator(seed))
        return self._sample(self.network(candidate), levels, noise)

    def measured(self, features: Features, images: Tensor) -> Tensor:
        """Features `(n, d)` of any number of images."""
        return torch.cat([features(part) for part in torch.split(images, self.largest_batch)])

    def images(self, candidate: Candidate, count: int, seed: int) -> np.ndarray | None:
        samples = self.generated(candidate, count, seed).clamp(-1, 1)
        tiles = samples[:, 0] if samples.shape[1] == 1 else samples.permute(0, 2, 3, 1)
        return ((tiles + 1) * 127.5).round().byte().cpu().numpy()

    def evaluator(self) -> dict[str, Any]:
        return {
            "sampler": f"{self.solver}, {self.evaluations} evaluations",
            "selection_samples": self.selection_samples,
            "report_samples": self.report_samples,
        }

    # -- oracles ----------------------------------------------------------------------------

    def batch(self, generator: torch.Generator) -> Batch:
        """A random training batch: share it between two losses to compare them."""
        return draw(self.train_images, TABLE, generator, self.batch_size)

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Initial noise for `count` images."""
        shape = (count, *self.train_images.shape[1:])
        dtype = self.train_images.dtype
        return torch.randn(shape, generator=generator, device=self.device, dtype=dtype)

    def denoiser(self, net: nn.Module) -> Denoiser:
        """`net` in the task's precision."""
        return lowered(net, self.precision)

    def train_step(self, training: Training, levels: Tensor, fraction: float, /) -> None:
        """One lower-level step at training `levels`, `fraction` of the horizon being over."""
        batch = self.batch(training.generator)
        with self.meter.charge("train_step", train_images=len(batch.images)):
            with learning(training.normalisations):
                torch.autograd.backward(denoising_loss(self.denoiser(training.net), levels, batch))
            training.update(learning_rate(self.rate, training.step, fraction))

    def loss(self, net: nn.Module, levels: Tensor, batch: Batch) -> Tensor:
        """Lower-level loss, 0-d, without a graph."""
        with self.meter.charge("loss", nfe=len(batch.images)), torch.no_grad():
            return denoising_loss(self.denoiser(net), levels, batch)

    @torch.no_grad()
    def losses(self, net: nn.Module, levels: Tensor, batch: Batch) -> Tensor:
        """Lower-level loss `(n,)` at each of `levels` `(n,)`, from the images and the noise of
        `batch`, without a graph; in full precision, for differences of them to be exact."""
        count = len(levels)
        with self.meter.charge("loss", count=count, nfe=count * len(batch.images)):
            return losses_by_level(net, levels, batch)

    def loss_gradient(
        self, net: nn.Module, levels: Tensor, batch: Batch, scale: float = 1.0
    ) -> Tensor:
        """Lower-level loss, 0-d, after accumulating `scale` times its gradient in the weights
        of `net` and in what `levels` were computed from, wherever either requires one."""
        leaf = levels.detach().requires_grad_(levels.requires_grad)
        with self.meter.charge("loss_gradient", train_images=len(batch.images)):
            with learning(normalisations(net)):
                value = denoising_loss(self.denoiser(net), leaf, batch)
            torch.autograd.backward(scale * value)
        if levels.requires_grad:
            torch.autograd.backward(levels, leaf.grad, retain_graph=True)
        return value.detach()

    def sample(self, net: nn.Module, levels: Tensor, noise: Tensor) -> Tensor:
        """Images from initial `noise` at sampling `levels` `(steps,)`, without a graph."""
        return self._sample(self.denoiser(net), levels, noise)

    def _sample(self, denoiser: Denoiser, levels: Tensor, noise: Tensor) -> Tensor:
        return torch.cat([
            sampler.sample(denoiser, levels, part, self.meter, self.clip, SOLVERS[self.solver])
            for part in torch.split(noise, self.largest_batch)
        ])  # fmt: skip

    def sample_each(self, net: nn.Module, levels: Tensor, noise: Tensor) -> Tensor:
        """Images at each of `levels` `(groups, steps)` from its part of `noise` `(groups, n, ...)`,
        of the same shape. A GPU samples what fits in one batch; the charges are those of `sample`,
        group by group."""
        groups = self._together(noise.shape[1])
        if groups < 2:
            pairs = zip(levels, noise, strict=True)
            return torch.stack([self.sample(net, own, start) for own, start in pairs])
        parts = zip(torch.split(levels, groups), torch.split(noise, groups), strict=True)
        return torch.cat([
            sampler.sample(
                self.denoiser(net), part, start.flatten(0, 1), self.meter, self.clip,
                SOLVERS[self.solver],
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
            return self._distance(self.measured(self.features, images), moments)

    def frechet_gradient(
        self,
        net: nn.Module,
        levels: Tensor,
        noise: Tensor,
        scale: float = 1.0,
        moments: Moments | None = None,
    ) -> Tensor:
        """Fréchet distance, 0-d, of the images sampled from `noise`, after accumulating `scale`
        times its pathwise gradient like `loss_gradient` does; with `moments` as in `frechet`."""

        def objective(images: Tensor) -> Tensor:
            return scale * self._distance(self.features(images), moments)

        return self.pathwise_gradient(net, levels, noise, objective) / scale

    def pathwise_gradient(
        self, net: nn.Module, levels: Tensor, noise: Tensor, objective: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """`objective(images)`, 0-d, of the images sampled from `noise`, after accumulating its
        pathwise gradient like `loss_gradient` does."""
        return sampler.pathwise_backward(
            self.denoiser(net), levels, noise, objective, self.meter, self.clip, self.recompute,
            SOLVERS[self.solver],
        )  # fmt: skip

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
        training, generator = self.begin(seed), self.generator(seed)
        position = self.position(self.space.default).requires_grad_()
        for _ in range(3):
            training_levels = self.training_levels(position)
            batch = self.batch(generator)
            self.loss(training.net, training_levels, batch)
            self.loss_gradient(training.net, training_levels, batch)
            noise = self.noise(128, generator)
            self.frechet_gradient(training.net, self.sampling_levels(position), noise)
            self.update(training, 0.0)


def common_levels(device: str) -> Tensor:
    """`(TABLE,)` evenly spaced levels between an lsnr of -6 and 6, the same for every plan: the
    reported denoising loss is taken there, so that it compares across training levels."""
    return torch.linspace(-6, 6, TABLE, dtype=torch.float64, device=device)


def checked_levels(levels: Tensor, evaluations: int) -> Tensor:
    """`levels` in float64. Raises ValueError unless they are `evaluations` finite log
    signal-to-noise ratios that increase."""
    levels = levels.double()
    if levels.shape != (evaluations,) or not torch.isfinite(levels).all():
        raise ValueError(f"need {evaluations} finite sampling levels, got {levels.tolist()}")
    if not (levels.diff() > 0).all():
        raise ValueError(f"sampling levels must increase in lsnr, got {levels.tolist()}")
    return levels
