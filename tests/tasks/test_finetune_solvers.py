"""Lower-level solvers on a toy batch, draws at several strengths at once, coupled rewards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tasks.base import Candidate, FreeMeter
from tasks.finetune.digits import FinetuneDigits
from tasks.finetune.gaussian import FinetuneGaussian
from tasks.finetune.mnist import FinetuneMnistCoupled
from tasks.finetune.rewards import Rewards
from tasks.finetune.sampling import LogTilt, Sampler
from tasks.finetune.solvers import Batch, Linearised, LookAhead


class Recorder:
    """A sampler that remembers its calls; every guided image is one gradient step from noise."""

    def __init__(self, rate: float = 1.0) -> None:
        self.calls: list[tuple[LogTilt | None, float]] = []
        self.rate = rate
        self.noise = torch.tensor([[0.0], [1.0], [2.0], [-1.0]])

    def __call__(self, log_tilt: LogTilt | None, eta: float) -> Tensor:
        self.calls.append((log_tilt, eta))
        if log_tilt is None:
            return self.noise
        leaf = self.noise.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_tilt(leaf).sum(), leaf)
        return self.noise + self.rate * gradient


def batch(generate: Any, strength: float = 2.0) -> Batch:
    def of(target: float) -> Callable[[Tensor], Tensor]:
        return lambda images: -((images[:, 0] - target) ** 2) / 2

    return Batch(generate, of(3.0), of(1.5), torch.full((4,), strength), FreeMeter())


def test_look_ahead_tilts_by_the_reward_over_lambda() -> None:
    sampler = Recorder()
    LookAhead().images(batch(sampler))
    ((tilt, eta),) = sampler.calls
    assert tilt is not None
    assert eta == 1.0
    torch.testing.assert_close(tilt(torch.tensor([[1.0]]).expand(4, 1)), torch.full((4,), -1.0))


def test_weighted_sum_adds_the_upper_reward() -> None:
    sampler = Recorder()
    LookAhead(upper_weight=4.0).images(batch(sampler))
    tilt = sampler.calls[0][0]
    assert tilt is not None
    expected = (-2.0 + 4.0 * -0.125) / 2
    torch.testing.assert_close(tilt(torch.ones(4, 1)), torch.full((4,), expected))


def test_linearised_rounds_start_unguided_and_are_deterministic() -> None:
    sampler = Recorder()
    Linearised(rounds=3).images(batch(sampler))
    assert [tilt is None for tilt, _ in sampler.calls] == [True, False, False]
    assert {eta for _, eta in sampler.calls} == {0.0}


def test_linearised_guidance_is_the_squared_error_of_the_tangent() -> None:
    sampler = Recorder()
    Linearised(rounds=2, target=1.0, batch=5).images(batch(sampler))
    tilt = sampler.calls[1][0]
    assert tilt is not None
    x = sampler.noise[:, 0]
    tangent = -((x - 3) ** 2) / 2 - (x - 3) * (0.5 - x)  # at 0.5, of the parabola in each x
    expected = -((1.0 - tangent) ** 2) / (2 * 5 * 2.0)
    torch.testing.assert_close(tilt(torch.full((4, 1), 0.5)), expected)


def test_linearised_rounds_diverge_where_the_curvature_is_too_strong() -> None:
    weak, strong = (
        Linearised(rounds=12, target=0.0).images(batch(Recorder(), strength)).abs().max().item()
        for strength in (10.0, 0.3)
    )
    assert weak < 3
    assert not strong < 1e6


def test_a_weighted_sum_on_the_gaussian_is_its_closed_form() -> None:
    task = FinetuneGaussian()
    solver = LookAhead(upper_weight=2.0)
    values = task.evaluate(Candidate({"lambda": 0.5}, solver), seed=0)
    drawn = task.guided({"lambda": 0.5}, 100_000, 1, solver)
    assert values["reward"] == pytest.approx(drawn.upper.mean().item(), abs=0.01)
    assert values["reward"] > task.evaluate(Candidate({"lambda": 0.5}), seed=0)["reward"]
    assert -task.score(Candidate({"lambda": 0.5}, solver), seed=2) == pytest.approx(
        values["reward"], abs=0.02
    )


# -- several strengths at once --------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> FinetuneDigits:
    task = FinetuneDigits()
    task.setup()
    return task


def test_draws_at_several_strengths_are_those_at_each(digits: FinetuneDigits) -> None:
    points = [{"lambda": 0.5}, {"lambda": 1.0}, {"lambda": 20.0}]
    together = digits.guided_each(points, 40, seed=3)
    for params, rewards in zip(points, together, strict=True):
        alone = digits.guided(params, 40, seed=3)
        torch.testing.assert_close(rewards.lower, alone.lower, rtol=1e-3, atol=1e-3)
        assert rewards.group is not None
        assert alone.group is not None
        assert torch.equal(rewards.group, alone.group)


def test_no_batch_is_larger_than_the_tasks(digits: FinetuneDigits) -> None:
    class Ledger(FreeMeter):
        largest = 0

        def charge(self, operation: str, count: int = 1, **work: int) -> Any:
            self.largest = max(self.largest, count)
            return super().charge(operation, count, **work)

    digits.meter = ledger = Ledger()
    try:
        points = [{"lambda": 1.0}, {"lambda": 2.0}]
        assert [len(rewards) for rewards in digits.guided_each(points, 300, 0)] == [300, 300]
    finally:
        digits.meter = FreeMeter()
    assert ledger.largest <= digits.batch


def test_copies_share_their_noise() -> None:
    sampler = Sampler(copies=3)
    noise = sampler.noise(torch.empty(6, 2), torch.Generator().manual_seed(0))
    assert torch.equal(noise[:2], noise[2:4])
    assert torch.equal(noise[:2], noise[4:])


def test_the_weighted_sum_reaches_a_higher_reward_on_digits(digits: FinetuneDigits) -> None:
    plain, summed = (
        digits.guided({"lambda": 1.0}, 200, 1, solver).upper.mean()
        for solver in (LookAhead(), LookAhead(upper_weight=1.0))
    )
    assert summed > plain


# -- classes that share a supply ------------------------------------------------------------


def coupled(ink: Tensor) -> Rewards:
    upper = ink.sin()
    group = torch.arange(len(ink)) % 10
    return FinetuneMnistCoupled().settle(Rewards(upper, ink, group))


def test_coupled_rewards_average_to_the_objective() -> None:
    ink = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    objective = ink.sin().mean() - 2 * (ink.mean() - 0.6) ** 2
    torch.testing.assert_close(coupled(ink).upper.mean(), objective)


def test_coupled_rewards_are_the_influence_of_a_sample() -> None:
    """Giving a sample a little more weight changes the objective by its reward less the mean."""
    ink = torch.randn(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1

    def objective(weights: Tensor) -> Tensor:
        shares = weights / weights.sum()
        return shares @ ink.sin() - 2 * (shares @ ink - 0.6) ** 2

    weights = torch.ones(50, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(objective(weights), weights)
    upper = coupled(ink).upper
    torch.testing.assert_close(slope * 50, upper - upper.mean())
