"""Samplers against diffusers and against exact scores; pathwise gradients against autograd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from weakref import WeakSet

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tasks.base import FreeMeter
from tasks.diffusion import sampler
from tasks.diffusion.sampler import Denoiser, Solver, ddim, dpm, noise_level
from tasks.schedule.network import DenseNet

SOLVERS = {"ddim": ddim, "dpm": dpm}


def karras(steps: int = 10, first: float = 80.0, last: float = 0.002) -> Tensor:
    """Levels of EDM, as log signal-to-noise ratios."""
    sigmas = torch.linspace(first ** (1 / 7), last ** (1 / 7), steps, dtype=torch.float64) ** 7
    return -2 * sigmas.log()


def wiggly_net(seed: int = 0) -> DenseNet:
    """A network whose output is not zero, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = DenseNet(8, width=32, depth=1).double()
        torch.nn.init.normal_(net.leave.weight, std=0.2)
    return net


def noise(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("levels", [karras(), karras(20), torch.linspace(-4, 9, 5).double()])
def test_dpm_equals_diffusers(levels: Tensor, clip: bool) -> None:
    scheduler = DPMSolverMultistepScheduler(
        1000,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        thresholding=clip,
        sample_max_value=1.0,
    )
    scheduler.set_timesteps(len(levels))
    sigmas = (-levels / 2).exp()
    scheduler.sigmas = torch.cat([sigmas, torch.zeros_like(sigmas[:1])])
    net, x = wiggly_net(), noise(16)
    with torch.no_grad():
        for t, lsnr in zip(scheduler.timesteps, levels, strict=True):
            x = scheduler.step(net(x, noise_level(lsnr).expand(16)), t, x).prev_sample
    ours = sampler.sample(net, levels, noise(16), FreeMeter(), 1.0 if clip else None)
    size = max(1.0, float(x.abs().max()))  # unbounded images are large; diffusers steps in float32
    torch.testing.assert_close(ours, x, atol=1e-5 * size, rtol=1e-5)


def test_ddim_equals_diffusers() -> None:
    levels = torch.linspace(-12, 8, 10).double()
    scheduler = DDIMScheduler(1000, clip_sample=True, set_alpha_to_one=True)
    scheduler.alphas_cumprod = torch.sigmoid(levels.flip(0))
    scheduler.config.num_train_timesteps = scheduler.num_inference_steps = len(levels)
    net, x = wiggly_net(), noise(16)
    with torch.no_grad():
        for i, lsnr in enumerate(levels):
            t = len(levels) - 1 - i
            x = scheduler.step(net(x, noise_level(lsnr).expand(16)), t, x, eta=0.0).prev_sample
    ours = sampler.sample(net, levels, noise(16), FreeMeter(), solver=ddim)
    torch.testing.assert_close(ours, x, atol=1e-9, rtol=1e-9)


def exact_score(scale: Tensor) -> Denoiser:
    """The best noise prediction for data N(0, diag(scale²)), in closed form."""

    def denoiser(x: Tensor, level: Tensor) -> Tensor:
        ratio = torch.tan(level * torch.pi / 2)[:, None]
        signal, spread = 1 / (1 + ratio**2).sqrt(), ratio / (1 + ratio**2).sqrt()
        return spread * x / (signal**2 * scale**2 + spread**2)

    return denoiser


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_more_evaluations_are_better_where_the_score_is_exact(solver: Solver) -> None:
    """Sampling is linear there, so ones become the scales of what is generated."""
    scale, ones = torch.logspace(-2, 0, 9).double(), torch.ones(1, 9).double()
    errors = []
    for steps in (5, 10, 20, 50):
        found = sampler.sample(exact_score(scale), karras(steps), ones, FreeMeter(), None, solver)
        errors.append(float((found / scale).log().square().sum()))
    assert all(after < before / 3 for before, after in pairwise(errors))
    assert errors[-1] < (1e-3 if solver is dpm else 0.1)


def test_noise_level_is_the_angle_between_signal_and_noise() -> None:
    assert float(noise_level(torch.tensor(0.0))) == pytest.approx(0.5)
    angles = torch.linspace(0.05, 0.95, 7).double()
    levels = -2 * torch.log(torch.tan(angles * torch.pi / 2))
    torch.testing.assert_close(noise_level(levels), angles)


class Counting:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.work: Counter[str] = Counter()

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        yield
        self.counts[operation] += count
        self.work.update(work)


def moving_levels(stretch: Tensor) -> Tensor:
    """Ten levels that depend on `stretch` `(2,)`."""
    return torch.linspace(-7, 9, 10).double() * stretch[0] + stretch[1]


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize("recompute", [False, True])
def test_stepwise_backward_equals_one_backward_pass(recompute: bool, solver: Solver) -> None:
    net, stretch = wiggly_net(), torch.tensor([1.0, 0.3], dtype=torch.float64, requires_grad=True)

    def objective(images: Tensor) -> Tensor:
        return images.square().mean() + images[:, 0, 0, 0].sum()

    meter = Counting()
    value = sampler.pathwise_backward(
        net, moving_levels(stretch), noise(6), objective, meter, 2.0, recompute, solver
    )
    ours = [p.grad.clone() for p in (*net.parameters(), stretch) if p.grad is not None]

    net.zero_grad()
    stretch.grad = None
    state = noise(6), torch.zeros(6, 1, 8, 8, dtype=torch.float64)
    for row in solver(moving_levels(stretch)):
        state = sampler.step(net, *state, row, 2.0)
    expected = objective(state[0])
    torch.autograd.backward(expected)
    torch.testing.assert_close(value, expected.detach())
    for mine, theirs in zip(ours, [p.grad for p in (*net.parameters(), stretch)], strict=True):
        torch.testing.assert_close(mine, theirs)
    assert meter.counts == {"denoise_forward": 60, "objective_backward": 6, "denoise_backward": 60}
    assert meter.work == {"nfe": 120 if recompute else 60, "scored_images": 6}


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_pathwise_gradient_equals_finite_differences_over_six_orders(solver: Solver) -> None:
    """Without a bound nothing has a kink, and off the singular end nothing amplifies rounding."""
    scale = torch.tensor([1.0, 0.3, 0.05]).double()
    denoiser, start = exact_score(scale), torch.ones(1, 3).double()

    def levels(place: Tensor) -> Tensor:
        return karras() + place

    def value(place: float) -> float:
        at = torch.tensor(place, dtype=torch.float64)
        return float(sampler.sample(denoiser, levels(at), start, FreeMeter(), None, solver).sum())

    place = torch.zeros((), dtype=torch.float64, requires_grad=True)
    sampler.pathwise_backward(
        denoiser, levels(place), start, torch.sum, FreeMeter(), None, solver=solver
    )
    assert place.grad is not None
    for size in (1e-6, 1e-4, 1e-2):
        found = (value(size) - value(-size)) / (2 * size)
        assert found == pytest.approx(float(place.grad), rel=1e-4)
    assert (value(1.0) - value(-1.0)) / 2 == pytest.approx(float(place.grad), rel=0.3)


def test_recomputing_keeps_the_graph_of_one_step() -> None:
    net, start = wiggly_net(), noise(6)

    def most(recompute: bool) -> int:
        """Most bytes that graphs keep at a time, as seen at each new tensor in them."""
        alive: WeakSet[Tensor] = WeakSet()
        kept: list[int] = []

        def keep(tensor: Tensor) -> Tensor:
            copy = tensor.clone()
            alive.add(copy)
            kept.append(sum(x.nbytes for x in alive))
            return copy

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda copy: copy):
            sampler.pathwise_backward(
                net, karras(), start, lambda x: x.square().mean(), FreeMeter(), None, recompute
            )
        return max(kept)

    assert most(recompute=True) < 1.5 * most(recompute=False) / sampler.STEPS


@given(st.floats(0.5, 500), st.floats(1e-3, 0.2), st.integers(2, 12))
def test_gradients_are_finite_at_all_sensible_levels(first: float, last: float, steps: int) -> None:
    net, levels = wiggly_net().float(), karras(steps, first, last).requires_grad_()
    sampler.pathwise_backward(
        net, levels, noise(3).float(), lambda x: x.square().mean(), FreeMeter()
    )
    assert levels.grad is not None
    assert torch.isfinite(levels.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_levels_for_each_part_of_a_batch_are_like_separate_calls() -> None:
    net, sets = wiggly_net(), torch.stack([karras(), karras(first=20.0), karras(last=0.02)])
    start = noise(3 * 120)  # more than a CPU takes at once
    together, apart = Counting(), Counting()
    images = sampler.sample(net, sets, start, together)
    expected = [
        sampler.sample(net, one, part, apart)
        for one, part in zip(sets, start.chunk(3), strict=True)
    ]
    torch.testing.assert_close(images, torch.cat(expected), atol=1e-10, rtol=1e-10)
    assert not torch.allclose(expected[0], expected[1])
    assert (together.counts, together.work) == (apart.counts, apart.work)
    with pytest.raises(ValueError, match="100 images are no equal parts for 3 sets"):
        sampler.sample(net, sets, start[:100], together)
