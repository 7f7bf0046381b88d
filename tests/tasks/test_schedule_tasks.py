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
from tasks.schedule.base import ScheduleTask, checked_levels, common_levels
from tasks.schedule.digits import ScheduleDigits
from tasks.schedule.gaussian import (
    SCALES,
    ScheduleGaussian,
    ScheduleGaussianPublished,
    lower_solution,
)
from tasks.schedule.mnist import ScheduleMnist
from tasks.schedule.training import BATCH
from tasks.training import learning_rate


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
    primary = task.metrics[0].name
    assert after[primary] < before[primary]
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


def network(task: ScheduleTask, candidate: Candidate) -> torch.nn.Module:
    """The trained network, with gradients."""
    net = task.begin(0).net
    net.load_state_dict(candidate.state["weights"])
    return net


def test_sampling_levels_may_be_chosen_after_training(task: ScheduleTask) -> None:
    (candidate,) = task.iterate(task.space.default, (0.2,), seed=0)
    other = task.space.default | {"rho": 3.0, "location": 2.0}
    moved = task.candidate(network(task, candidate), task.space.default, other)
    assert moved.params == task.space.default | {"rho": 3.0}  # the training levels stay
    ours, theirs = task.evaluate(moved, 5), task.evaluate(candidate, 5)
    assert ours["loss"] == theirs["loss"]
    assert ours["fid"] != theirs["fid"]
    same = task.candidate(
        network(task, candidate),
        task.space.default,
        levels=task.sampling_levels(task.position(task.space.default)),
    )
    assert task.evaluate(same, 5)["fid"] == theirs["fid"]


def test_sampling_levels_outside_the_family_are_checked() -> None:
    levels = torch.linspace(-5, 5, 10)
    assert checked_levels(levels, 10).dtype == torch.float64
    for wrong in (levels[:9], levels.flip(0), torch.full((10,), torch.nan)):
        with pytest.raises(ValueError, match="levels"):
            checked_levels(wrong, 10)


def test_the_reported_loss_does_not_depend_on_the_plan(task: ScheduleTask) -> None:
    (candidate,) = task.iterate(task.space.default, (0.1,), seed=0)
    other = task.candidate(network(task, candidate), task.space.default | {"location": 3.0})
    assert task.evaluate(candidate, 2)["loss"] == task.evaluate(other, 2)["loss"]
    assert float(common_levels("cpu").mean()) == pytest.approx(0)


def test_every_primitive_is_charged(task: ScheduleTask) -> None:
    meter = task.meter = Counting()
    (candidate,) = task.iterate(task.space.default, (0.01,), seed=0)
    task.score(candidate, 0)
    assert meter.charges == {
        "train_step": round(0.01 * task.trial_steps),
        "denoise": 10,
        "frechet": 1,
    }
    assert meter.work["nfe"] == 10 * task.selection_samples


def test_rehearsal_runs_every_oracle(task: ScheduleTask) -> None:
    meter = task.meter = Counting()
    task.rehearse(0)
    assert set(meter.charges) == {
        "train_step",
        "denoise",
        "frechet",
        "loss",
        "loss_gradient",
        "update",
        "denoise_forward",
        "objective_backward",
        "denoise_backward",
    }


def test_loss_gradient_equals_finite_differences(task: ScheduleTask) -> None:
    (candidate,) = task.iterate(task.space.default, (0.1,), seed=0)
    net = task.begin(0).net
    net.load_state_dict(candidate.state["weights"])
    net.double()
    batch = task.batch(task.generator(2))
    batch = type(batch)(batch.images.double(), batch.places, batch.noise.double())
    position = torch.full((len(task.space),), 0.4, dtype=torch.float64)

    moving = position.clone().requires_grad_()
    value = task.loss_gradient(net, task.training_levels(moving), batch, scale=2.0)
    assert float(value) == pytest.approx(
        float(task.loss(net, task.training_levels(position), batch))
    )
    for i, delta in enumerate(1e-5 * torch.eye(len(position), dtype=torch.float64)):
        up, down = (
            task.loss(net, task.training_levels(position + sign * delta), batch) for sign in (1, -1)
        )
        assert moving.grad is not None
        assert float(moving.grad[i]) == pytest.approx(2 * float(up - down) / 2e-5, rel=1e-4)


def test_losses_by_level_are_those_of_single_levels(task: ScheduleTask) -> None:
    net, batch = task.begin(0).net, task.batch(task.generator(2))
    with torch.no_grad():
        for weight in net.parameters():  # the last layer starts at zero
            weight.add_(0.1)
    levels = torch.tensor([-3.0, 0.0, 2.5], dtype=torch.float64, device=task.device)
    each = [task.loss(net, levels[[i]], batch._replace(places=0 * batch.places)) for i in range(3)]
    meter = task.meter = Counting()
    assert task.losses(net, levels, batch).tolist() == pytest.approx(
        list(map(float, each)), rel=1e-5
    )
    assert set(meter.charges) == {"loss"}


@pytest.mark.parametrize("size", [1e-6, 1e-4, 1e-2])
def test_frechet_gradient_equals_finite_differences_at_the_default(
    task: ScheduleTask, size: float
) -> None:
    """In float64, in the sampling levels and along a direction of the weights."""
    (candidate,) = task.iterate(task.space.default, (0.3,), seed=0)
    net = network(task, candidate).double()
    noise = task.noise(100, task.generator(1)).double()
    features = task.features
    if isinstance(features, torch.nn.Module):
        task.features = copy.deepcopy(features).double()
    position = task.position(task.space.default)
    direction = torch.zeros_like(position)
    direction[task.space.names.index("rho")] = 1.0
    generator = torch.Generator().manual_seed(0)
    ways = [torch.randn(p.shape, generator=generator).double() for p in net.parameters()]

    def distance(step: float) -> float:
        with torch.no_grad():
            for p, way in zip(net.parameters(), ways, strict=True):
                p += 0.01 * step * way
        levels = task.sampling_levels(position + 0.1 * step * direction)
        value = float(task.frechet(task.sample(net, levels, noise)))
        with torch.no_grad():
            for p, way in zip(net.parameters(), ways, strict=True):
                p -= 0.01 * step * way
        return value

    try:
        moving = position.clone().requires_grad_()
        value = task.frechet_gradient(net, task.sampling_levels(moving), noise, scale=0.5)
        assert float(value) == pytest.approx(distance(0.0), rel=1e-9)
        assert moving.grad is not None
        slope = 2 * 0.1 * float(moving.grad @ direction)
        for p, way in zip(net.parameters(), ways, strict=True):
            assert p.grad is not None
            slope += 2 * 0.01 * float((p.grad * way).sum())
        found = (distance(size) - distance(-size)) / (2 * size)
        assert found == pytest.approx(slope, rel=2e-3 if size < 1e-3 else 0.02)
    finally:
        task.features = features


def test_update_changes_weights_and_forgets_gradients(task: ScheduleTask) -> None:
    training = task.begin(0)
    before = copy.deepcopy(training.net.state_dict())
    levels = task.training_levels(task.position(task.space.default))
    task.loss_gradient(training.net, levels, task.batch(training.generator))
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


def test_the_last_report_is_measured_at_more_evaluations_too() -> None:
    task = ready(ScheduleDigits)
    (candidate,) = task.iterate(task.space.default, (0.3,), seed=0)
    found = task.evaluate_final(candidate, 0)
    assert set(found) == {metric.name for metric in task.final_metrics}
    assert found["panel_x2"] != found["panel_x5"]


def test_mnist_runs_on_the_same_path() -> None:
    class Small(ScheduleMnist):
        selection_samples = report_samples = 100

    task = ready(Small)
    (candidate,) = task.iterate(task.space.default, (0.001,), seed=0)
    assert np.isfinite(task.score(candidate, 0))
    assert all(np.isfinite(value) for value in task.evaluate(candidate, 0).values())


@pytest.mark.parametrize("cls", [ScheduleGaussian, ScheduleGaussianPublished])
def test_gaussian_hypergradient_is_that_of_the_truth(cls: type[ScheduleGaussian]) -> None:
    task = ready(cls)
    assert isinstance(task, ScheduleGaussian)
    inside = torch.full((len(task.space),), 0.45, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(task.truth, (inside,), atol=1e-6)


def test_gaussian_gains_from_training_and_from_sampling(gaussian: ScheduleGaussian) -> None:
    """From the default, a plan has far to go, in either part alone."""

    def truth(**changes: float) -> float:
        return float(gaussian.truth(gaussian.position(gaussian.space.default | changes)))

    assert truth(location=-3.0) < 0.8 * truth()
    assert truth(rho=15.0) < 0.8 * truth()
    assert truth(location=-3.0, rho=15.0, sigma_max=20.0) < 0.3 * truth()


def test_gaussian_lower_solution_minimises_the_expected_loss(gaussian: ScheduleGaussian) -> None:
    levels = gaussian.training_levels(gaussian.position(gaussian.space.default))
    net = gaussian.build()
    solution = lower_solution(levels)
    net.load_state_dict({"coefficients": solution})
    best = float(gaussian.expected_loss(net, levels))
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        nudge = 0.05 * torch.randn(solution.shape, generator=generator)
        net.load_state_dict({"coefficients": solution + nudge})
        assert float(gaussian.expected_loss(net, levels)) > best


@pytest.mark.parametrize("cls", [ScheduleGaussian, ScheduleGaussianPublished])
def test_gaussian_exact_metrics_agree_with_sampled_ones(cls: type[ScheduleGaussian]) -> None:
    task = ready(cls)
    assert isinstance(task, ScheduleGaussian)
    params = task.space.default
    position = task.position(params)
    net = task.build()
    net.load_state_dict({"coefficients": lower_solution(task.training_levels(position))})
    exact = task.evaluate(task.candidate(net, params), 0)
    assert exact["fid"] == pytest.approx(float(task.truth(position)), rel=1e-4)
    noise = task.noise(400_000, task.generator(0))
    images = task.sample(net, task.sampling_levels(position), noise)
    assert float(task.frechet(images)) == pytest.approx(exact["fid"], abs=5e-3)
    assert task.batch(task.generator(0)).images.shape[1:] == (1, 1, len(SCALES))


def test_a_restarted_optimiser_steps_as_a_new_one() -> None:
    task = ready(ScheduleDigits)
    training = task.begin(0)
    levels = task.training_levels(task.position(task.space.default))
    for _ in range(3):
        task.train_step(training, levels, 0.5)
    fresh = copy.deepcopy(training)
    training.restart((0.9, 0.95))
    fresh.optimiser = torch.optim.AdamW(fresh.net.parameters(), betas=(0.9, 0.95), fused=True)
    batch = task.batch(task.generator(1))
    for side in (training, fresh):
        task.loss_gradient(side.net, levels, batch)
        task.update(side, 1e-3)
    pairs = zip(training.net.parameters(), fresh.net.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
