"""DDIM and the forward process against diffusers; pathwise gradients against autograd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from tasks.base import FreeMeter
from tasks.diffusion import ddim
from tasks.schedule.digits import ScheduleDigits
from tasks.schedule.network import DenseNet, UNet
from tasks.schedule.schedules import COSINE, betas
from tasks.schedule.training import Batch, add_noise


def table(**changes: float) -> Tensor:
    return COSINE.alpha_bar(torch.tensor(COSINE.space.to_unit(COSINE.space.default | changes)))


def wiggly_net(seed: int = 0, size: int = 8) -> DenseNet:
    """A network whose output is not zero, in float64."""
    torch.manual_seed(seed)
    net = DenseNet(size, width=32, depth=1).double()
    torch.nn.init.normal_(net.leave.weight, std=0.2)
    return net


@pytest.fixture(autouse=True)
def _keep_the_global_generator() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


def test_forward_noising_equals_diffusers() -> None:
    alpha_bar, generator = table(tau=1.5), torch.Generator().manual_seed(0)
    batch = Batch(
        torch.randn(32, 1, 8, 8, generator=generator),
        torch.randint(1000, (32,), generator=generator),
        torch.randn(32, 1, 8, 8, generator=generator),
    )
    scheduler = DDPMScheduler(1000, trained_betas=betas(alpha_bar).tolist())
    expected = scheduler.add_noise(batch.images, batch.noise, batch.timesteps)
    noisy, level = add_noise(batch, alpha_bar)
    torch.testing.assert_close(noisy, expected, atol=2e-6, rtol=1e-5)
    assert level.shape == (32,)
    assert level.dtype == noisy.dtype


@pytest.mark.parametrize("changes", [{}, {"width": 0.8, "start": 0.1}, {"tau": 4.0}])
def test_sampler_equals_diffusers(changes: dict[str, float]) -> None:
    alpha_bar, net = table(**changes), wiggly_net()
    noise = torch.randn(16, 1, 8, 8, dtype=torch.float64)
    scheduler = DDIMScheduler(
        1000, trained_betas=betas(alpha_bar).tolist(), clip_sample=True, set_alpha_to_one=True
    )
    scheduler.alphas_cumprod = alpha_bar  # diffusers keeps its table in float32
    scheduler.num_inference_steps = 9  # diffusers steps down by 1000 // 9 = 111, as ours do
    x = noise
    with torch.no_grad():
        for t in ddim.timesteps(1000):
            level = ddim.noise_level(alpha_bar[t]).expand(len(x))
            x = scheduler.step(net(x, level), t, x, eta=0.0).prev_sample
    ours = ddim.sample(net, alpha_bar, noise, FreeMeter())
    torch.testing.assert_close(ours, x, atol=1e-9, rtol=1e-9)


def test_visited_steps_are_the_published_ten() -> None:
    assert ddim.timesteps(1000) == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]


def test_noise_level_of_the_default_schedule_is_time() -> None:
    u = (torch.arange(1, 1000) / 1000 + 0.008) / 1.008
    torch.testing.assert_close(ddim.noise_level(table())[:-1].float(), u, atol=6e-3, rtol=0)


class Counting:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.work: Counter[str] = Counter()

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        yield
        self.counts[operation] += count
        self.work.update(work)


@pytest.mark.parametrize("recompute", [False, True])
def test_stepwise_backward_equals_one_backward_pass(recompute: bool) -> None:
    net, position = wiggly_net(), torch.full((4,), 0.4, dtype=torch.float64).requires_grad_()
    noise = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    objective = lambda images: images.square().mean() + images[:, 0, 0, 0].sum()  # noqa: E731

    meter = Counting()
    value = ddim.pathwise_backward(
        net, COSINE.alpha_bar(position), noise, objective, meter, recompute=recompute
    )
    ours = [p.grad.clone() for p in (*net.parameters(), position)]

    net.zero_grad()
    position.grad = None
    x = noise
    for now, following in ddim.transitions(COSINE.alpha_bar(position)):
        x = ddim.ddim_step(net, x, now, following)
    expected = objective(x)
    expected.backward()
    torch.testing.assert_close(value, expected.detach())
    for mine, theirs in zip(ours, [p.grad for p in (*net.parameters(), position)], strict=True):
        torch.testing.assert_close(mine, theirs)
    assert meter.counts == {
        "denoise_forward": 60, "objective_backward": 6, "denoise_backward": 60
    }  # fmt: skip
    assert meter.work == {"nfe": 120 if recompute else 60, "scored_images": 6}


def test_recomputing_keeps_the_graph_of_one_step() -> None:
    net, noise = wiggly_net(), torch.randn(6, 1, 8, 8, dtype=torch.float64)
    kept: list[int] = []

    def most(recompute: bool) -> int:
        """Most bytes that graphs keep at a time, as seen at each new tensor in them."""
        alive: WeakSet[Tensor] = WeakSet()

        def keep(tensor: Tensor) -> Tensor:
            copy = tensor.clone()
            alive.add(copy)
            kept.append(sum(x.nbytes for x in alive))
            return copy

        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda copy: copy):
            ddim.pathwise_backward(
                net, table(), noise, lambda x: x.square().mean(), FreeMeter(), None, recompute
            )
        return max(kept)

    assert most(recompute=True) < 1.5 * most(recompute=False) / ddim.STEPS


def test_gradients_are_finite_at_the_singular_end() -> None:
    net, position = wiggly_net().float(), torch.tensor(COSINE.space.to_unit(COSINE.space.default))
    noise = torch.randn(6, 1, 8, 8)
    for tau in (position[2], 1.0):
        position[2] = tau
        q = position.clone().requires_grad_()
        alpha_bar = COSINE.alpha_bar(q)
        ddim.pathwise_backward(net, alpha_bar, noise, lambda x: x.square().mean(), FreeMeter())
        assert q.grad is not None
        assert torch.isfinite(q.grad).all()
        assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("size", [14, 28])
def test_unet_keeps_the_shape(size: int) -> None:
    images, level = torch.randn(3, 1, size, size), torch.rand(3)
    net = UNet(8)
    assert torch.equal(net(images, level), torch.zeros_like(images))
    torch.nn.init.normal_(net.leave.weight)
    assert net(images, level).shape == images.shape
    assert not torch.allclose(net(images, level), net(images, 1 - level))


def test_a_table_for_each_part_of_a_batch_is_like_separate_calls() -> None:
    net, tables = wiggly_net(), torch.stack([table(), table(tau=2.0), table(width=0.7)])
    noise = torch.randn(3 * 120, 1, 8, 8, dtype=torch.float64)  # more than a CPU takes at once
    together, apart = Counting(), Counting()
    images = ddim.sample(net, tables, noise, together)
    expected = [
        ddim.sample(net, one, part, apart) for one, part in zip(tables, noise.chunk(3), strict=True)
    ]
    torch.testing.assert_close(images, torch.cat(expected), atol=1e-10, rtol=1e-10)
    assert not torch.allclose(expected[0], expected[1])
    assert (together.counts, together.work) == (apart.counts, apart.work)
    with pytest.raises(ValueError, match="100 images are no equal parts for 3 tables"):
        ddim.sample(net, tables, noise[:100], together)


@pytest.mark.parametrize("together", [3, 2, 1])
def test_groups_that_do_not_fit_take_turns(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    task = ScheduleDigits()
    task.setup()
    task.meter = Counting()
    monkeypatch.setattr(task, "_together", lambda count: together)  # as a GPU of that memory
    net, tables = wiggly_net().float(), torch.stack([table(), table(tau=2.0), table(width=0.7)])
    noise = torch.randn(3, 7, 1, 8, 8)
    images = task.sample_each(net, tables, noise)
    expected = [task.sample(net, one, part) for one, part in zip(tables, noise, strict=True)]
    torch.testing.assert_close(images, torch.stack(expected), atol=1e-4, rtol=1e-4)
    assert task.meter.counts == {"denoise": 2 * 3 * 7 * 10}


def test_bfloat16_changes_what_networks_compute_in_and_nothing_else() -> None:
    full, low = ScheduleDigits(), ScheduleDigits()
    low.precision = "bfloat16"
    trained = []
    for task in (full, low):
        task.setup()
        training, alpha_bar = task.begin(0), task.table(task.space.default)
        for _ in range(60):
            task.train_step(training, alpha_bar, 0.1)
        assert {p.dtype for p in training.net.parameters()} == {torch.float32}
        trained.append(training.ema)
    assert not torch.equal(*(net.enter.weight for net in trained))
    torch.testing.assert_close(*(net.enter.weight for net in trained), atol=0.02, rtol=0)
    noise = full.noise(8, full.generator(0))
    exact, rounded = (task.sample(trained[0], alpha_bar, noise) for task in (full, low))
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    candidate = full.candidate(trained[0], full.space.default)
    assert full.score(candidate, 0) != low.score(candidate, 0)
    assert full.evaluate(candidate, 0) == low.evaluate(candidate, 0)
