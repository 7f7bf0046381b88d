"""Schedule tasks: the lower level, its resumption, scores, oracles; truths of the Gaussian."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.base import Candidate
from tasks.schedule.base import ScheduleTask
from tasks.schedule.digits import ScheduleDigits
from tasks.schedule.gaussian import SCALES, ScheduleGaussian, lower_solution
from tasks.schedule.mnist import ScheduleMnist
from tasks.schedule.training import BATCH, learning_rate


class Counting:
    """A meter that counts."""

    def __init__(self) -> None:
        self.charges: Counter[str] = Counter()
        self.work: Counter[str] = Counter()

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        self.charges[operation] += 1
        self.work.update(work)
        yield


def ready(cls: type[ScheduleTask]) -> ScheduleTask:
    task = cls()
    task.setup()
    return task


@pytest.fixture(scope="module", params=[ScheduleGaussian, ScheduleDigits], ids=lambda c: c.name)
def task(request: pytest.FixtureRequest) -> ScheduleTask:
    return ready(request.param)


@pytest.fixture(scope="module")
def gaussian() -> ScheduleGaussian:
    return ready(ScheduleGaussian)  # type: ignore[return-value]


def flat(candidate: Candidate) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in candidate.state["weights"].values()])


def test_training_lowers_loss_and_distance(task: ScheduleTask) -> None:
    short, long = task.iterate(task.space.default, (0.02, 0.3), seed=0)
    before, after = task.evaluate(short, 1), task.evaluate(long, 1)
    assert set(after) == {metric.name for metric in task.metrics}
    assert after["loss"] < before["loss"] < 1.1
    assert after["fid"] < before["fid"]
    assert task.score(long, 1) < task.score(short, 1)


def test_work_follows_from_stops_and_seed_alone(task: ScheduleTask) -> None:
    first, again, other = (
        list(task.iterate(task.space.default, (0.02, 0.04), seed))[-1] for seed in (0, 0, 1)
    )
    assert torch.equal(flat(first), flat(again))
    assert not torch.equal(flat(first), flat(other))
    assert first.resume is not None
    assert first.resume["training"]["step"] == round(0.04 * task.trial_steps)


def test_interrupted_and_resumed_equals_uninterrupted(task: ScheduleTask) -> None:
    stops = (0.02, 0.04, 0.06)
    whole = list(task.iterate(task.space.default, stops, seed=3))
    kept = copy.deepcopy(whole[0].resume)
    rest = list(task.iterate(task.space.default, stops, seed=3, resume=whole[0].resume))
    assert len(rest) == 2
    for ours, theirs in zip(rest, whole[1:], strict=True):
        assert torch.equal(flat(ours), flat(theirs))
    assert _equal(kept, whole[0].resume)  # going on does not alter the state it started from


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


def test_resume_state_survives_saving_without_code(task: ScheduleTask, tmp_path: Any) -> None:
    (candidate,) = task.iterate(task.space.default, (0.02,), seed=0)
    torch.save(candidate.resume, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert _equal(loaded, candidate.resume)


def test_stops_follow_progress_where_given(task: ScheduleTask) -> None:
    meter = task.meter = Counting()
    limit = 30
    steps = [
        candidate.resume["training"]["step"]
        for candidate in task.iterate(
            task.space.default, (0.5, 0.9), 0, lambda: meter.charges["train_step"] / limit
        )
        if candidate.resume is not None
    ]
    assert steps == [15, 27]
    assert meter.work["train_images"] == 27 * BATCH


def test_rate_warms_up_holds_and_falls_to_zero() -> None:
    assert learning_rate(1.0, 0, 0.0) == pytest.approx(0.02)
    assert learning_rate(1.0, 200, 0.3) == learning_rate(1.0, 200, 0.6) == 1.0
    assert learning_rate(1.0, 200, 0.8) == pytest.approx(0.5)
    assert learning_rate(1.0, 200, 1.0) == 0


def test_global_generator_is_left_alone(task: ScheduleTask) -> None:
    before = torch.get_rng_state()
    (candidate,) = task.iterate(task.space.default, (0.01,), seed=0)
    task.score(candidate, 0)
    task.evaluate(candidate, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_sampling_schedule_may_differ_from_the_training_schedule(task: ScheduleTask) -> None:
    (candidate,) = task.iterate(task.space.default, (0.2,), seed=0)
    moved = task.space.default | {"width": 0.8}
    net = task.begin(0).net
    net.load_state_dict(candidate.state["weights"])
    decoupled = task.candidate(net, task.space.default, moved)
    ours, theirs = task.evaluate(decoupled, 5), task.evaluate(candidate, 5)
    assert ours["loss"] == theirs["loss"]
    assert ours["fid"] != theirs["fid"]


def test_every_primitive_is_charged(task: ScheduleTask) -> None:
    meter = task.meter = Counting()
    (candidate,) = task.iterate(task.space.default, (0.01,), seed=0)
    task.score(candidate, 0)
    assert meter.charges == {
        "train_step": round(0.01 * task.trial_steps), "denoise": 10, "frechet": 1
    }  # fmt: skip
    assert meter.work["nfe"] == 10 * task.selection_samples


def test_rehearsal_runs_every_oracle(task: ScheduleTask) -> None:
    meter = task.meter = Counting()
    task.rehearse(0)
    assert set(meter.charges) == {
        "train_step", "denoise", "frechet", "loss", "loss_gradient", "update",
        "denoise_forward", "objective_backward", "denoise_backward",
    }  # fmt: skip


def test_loss_gradient_equals_finite_differences(task: ScheduleTask) -> None:
    (candidate,) = task.iterate(task.space.default, (0.1,), seed=0)
    net = task.begin(0).net
    net.load_state_dict(candidate.state["weights"])
    net.double()
    batch = task.batch(task.generator(2))
    batch = type(batch)(batch.images.double(), batch.timesteps, batch.noise.double())
    position = torch.full((len(task.space),), 0.4, dtype=torch.float64)

    moving = position.clone().requires_grad_()
    value = task.loss_gradient(net, task.alpha_bar(moving), batch, scale=2.0)
    assert float(value) == pytest.approx(float(task.loss(net, task.alpha_bar(position), batch)))
    for i, delta in enumerate(1e-5 * torch.eye(len(position), dtype=torch.float64)):
        up, down = (
            task.loss(net, task.alpha_bar(position + sign * delta), batch) for sign in (1, -1)
        )
        assert moving.grad is not None
        assert float(moving.grad[i]) == pytest.approx(2 * float(up - down) / 2e-5, rel=1e-4)


def test_frechet_gradient_equals_finite_differences(task: ScheduleTask) -> None:
    (candidate,) = task.iterate(task.space.default, (0.1,), seed=0)
    net = task.begin(0).net
    net.load_state_dict(candidate.state["weights"])
    noise = task.noise(200, task.generator(1))
    position = torch.full((len(task.space),), 0.4, dtype=torch.float64)

    moving = position.clone().requires_grad_()
    value = task.frechet_gradient(net, task.alpha_bar(moving), noise, scale=0.5)
    step = 1e-3  # images are float32, and the clip has kinks
    distance = lambda q: task.frechet(task.sample(net, task.alpha_bar(q), noise))  # noqa: E731
    assert float(value) == pytest.approx(float(distance(position)), rel=1e-5)
    slopes = torch.stack(
        [
            (distance(position + d) - distance(position - d)) / (2 * step)
            for d in step * torch.eye(len(position), dtype=torch.float64)
        ]
    )
    assert moving.grad is not None
    torch.testing.assert_close(2 * moving.grad, slopes, rtol=0.05, atol=0.02 * float(slopes.norm()))


def test_update_changes_weights_and_forgets_gradients(task: ScheduleTask) -> None:
    training = task.begin(0)
    before = copy.deepcopy(training.net.state_dict())
    table = task.table(task.space.default)
    task.loss_gradient(training.net, table, task.batch(training.generator))
    task.update(training, 1e-3)
    assert not _equal(before, training.net.state_dict())
    assert all(p.grad is None for p in training.net.parameters())
    assert not any(p.requires_grad for p in training.ema.parameters())


def test_images_are_a_grid_of_bytes() -> None:
    task = ready(ScheduleDigits)
    (candidate,) = task.iterate(task.space.default, (0.01,), seed=0)
    images = task.images(candidate, 16, seed=0)
    assert images is not None
    assert images.shape == (16, 8, 8)
    assert images.dtype == np.uint8


def test_mnist_runs_on_the_same_path() -> None:
    task = ready(ScheduleMnist)
    task.selection_samples = task.report_samples = 100  # type: ignore[misc]
    (candidate,) = task.iterate(task.space.default, (0.001,), seed=0)
    assert np.isfinite(task.score(candidate, 0))
    assert all(np.isfinite(value) for value in task.evaluate(candidate, 0).values())


def test_gaussian_optimum_is_the_documented_one(gaussian: ScheduleGaussian) -> None:
    best = torch.tensor(gaussian.space.to_unit({"width": 0.833, "tau": 1.479})).requires_grad_()
    value = gaussian.truth(best)
    value.backward()
    assert float(value.detach()) == pytest.approx(0.01176, abs=1e-5)
    assert best.grad is not None
    assert float(best.grad.abs().max()) < 1e-3
    grid = torch.linspace(0, 1, 17, dtype=torch.float64)
    with torch.no_grad():
        values = torch.stack([gaussian.truth(point) for point in torch.cartesian_prod(grid, grid)])
    assert values.min() > value
    assert values.max() > 0.5
    default = torch.tensor(gaussian.space.to_unit(gaussian.space.default))
    assert float(gaussian.truth(default)) == pytest.approx(0.0710, abs=1e-4)


def test_gaussian_lower_solution_minimises_the_expected_loss(gaussian: ScheduleGaussian) -> None:
    table = gaussian.table(gaussian.space.default)
    net = gaussian.build()
    solution = lower_solution(table).float()
    net.load_state_dict({"coefficients": solution})
    best = float(gaussian.expected_loss(net, table))
    for seed in range(5):
        nudge = 0.05 * torch.randn(solution.shape, generator=torch.Generator().manual_seed(seed))
        net.load_state_dict({"coefficients": solution + nudge})
        assert float(gaussian.expected_loss(net, table)) > best


def test_gaussian_exact_metrics_agree_with_sampled_ones(gaussian: ScheduleGaussian) -> None:
    params = gaussian.space.default
    net = gaussian.build()
    net.load_state_dict({"coefficients": lower_solution(gaussian.table(params)).float()})
    exact = gaussian.evaluate(gaussian.candidate(net, params), 0)
    truth = gaussian.truth(torch.tensor(gaussian.space.to_unit(params)))
    assert exact["fid"] == pytest.approx(float(truth), rel=1e-4)
    noise = gaussian.noise(400_000, gaussian.generator(0))
    images = gaussian.sample(net, gaussian.table(params), noise)
    assert float(gaussian.frechet(images)) == pytest.approx(exact["fid"], abs=5e-3)
    batch = gaussian.batch(gaussian.generator(0))
    assert batch.images.shape[1:] == (1, 1, len(SCALES))


def test_a_restarted_optimiser_steps_as_a_new_one() -> None:
    task = ready(ScheduleDigits)
    training, table = task.begin(0), task.table(task.space.default)
    for _ in range(3):
        task.train_step(training, table, 0.5)
    fresh = copy.deepcopy(training)
    training.restart((0.9, 0.95))
    fresh.optimiser = torch.optim.AdamW(fresh.net.parameters(), betas=(0.9, 0.95), fused=True)
    batch = task.batch(task.generator(1))
    for side in (training, fresh):
        task.loss_gradient(side.net, table, batch)
        task.update(side, 1e-3)
    pairs = zip(training.net.parameters(), fresh.net.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
