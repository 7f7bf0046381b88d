"""The fine-tuning tasks: contract, closed forms of the Gaussian, landscape of the digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ledger import Ledger
from scipy.optimize import minimize_scalar

from tasks.base import Candidate
from tasks.finetune import estimators
from tasks.finetune.base import FinetuneTask, child_seed, strengths
from tasks.finetune.digits import FinetuneDigits, FinetuneDigitsPerClass
from tasks.finetune.gaussian import FinetuneGaussian, tilted_law
from tasks.finetune.mnist import FinetuneMnist
from tasks.finetune.rewards import InkAndRecognition, Rewards


@pytest.fixture(scope="module")
def digits() -> FinetuneDigits:
    task = FinetuneDigits()
    task.setup()
    return task


@pytest.fixture
def gaussian() -> FinetuneGaussian:
    task = FinetuneGaussian()
    task.setup()
    return task


# -- the Gaussian ---------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.05, 0.8, 10.0])
def test_gaussian_samples_have_the_closed_form_rewards(
    gaussian: FinetuneGaussian, strength: float
) -> None:
    params = {"lambda": strength}
    rewards = gaussian.guided(params, 100_000, seed=1)
    exact = gaussian.evaluate(Candidate(params), seed=0)
    assert rewards.upper.mean().item() == pytest.approx(exact["reward"], abs=0.01)
    assert rewards.lower.mean().item() == pytest.approx(exact["lower_reward"], abs=0.02)


def test_gaussian_metrics_agree_with_quadrature(gaussian: FinetuneGaussian) -> None:
    x = torch.linspace(-12, 14, 20001, dtype=torch.float64)
    base = torch.log_softmax(-(x**2) / 2, dim=0)
    scores = -((x - 3) ** 2) / 2 / 0.5
    weights = estimators.log_weights(scores, base).exp()
    exact = gaussian.evaluate(Candidate({"lambda": 0.5}), seed=0)
    assert exact["kl"] == pytest.approx(estimators.tilt_divergence(scores, base).item(), rel=1e-6)
    assert exact["reward"] == pytest.approx((weights @ (-((x - 1.5) ** 2) / 2)).item(), rel=1e-6)


def test_gaussian_optimum(gaussian: FinetuneGaussian) -> None:
    found = minimize_scalar(
        lambda s: -gaussian.evaluate(Candidate({"lambda": s}), 0)["reward"],
        bounds=(0.01, 100),
        method="bounded",
        options={"xatol": 1e-6},
    )
    assert found.x == pytest.approx(0.8, abs=1e-4)
    assert tilted_law(1e9)[0] == pytest.approx(0, abs=1e-6)


def test_gaussian_pool_is_the_pre_trained_law(gaussian: FinetuneGaussian) -> None:
    rewards = gaussian.pool(100_000, seed=2)
    assert rewards.upper.mean().item() == pytest.approx(-(1.5**2 + 1) / 2, abs=0.02)


# -- the contract ---------------------------------------------------------------------------


def test_stops_are_cumulative_and_a_later_stop_keeps_earlier_samples(
    gaussian: FinetuneGaussian,
) -> None:
    gaussian.meter = ledger = Ledger()
    stops = (0.1, 0.5, 1.0)
    states = [c.state for c in gaussian.iterate({"lambda": 1.0}, stops, seed=3)]
    assert [len(state) for state in states] == [round(s * gaussian.samples) for s in stops]
    torch.testing.assert_close(states[2].upper[: len(states[0])], states[0].upper)
    assert ledger.total("reward") == gaussian.samples
    assert ledger.total("guided_denoise") == gaussian.samples * gaussian.steps


def test_a_very_long_trial_is_drawn_piece_by_piece(gaussian: FinetuneGaussian) -> None:
    class Enough(Exception):
        pass

    class Limited(Ledger):
        def charge(self, operation: str, count: int = 1, **work: int) -> Any:
            if self.total("reward") > 2 * gaussian.samples:
                raise Enough
            return super().charge(operation, count, **work)

    gaussian.meter = ledger = Limited()
    with pytest.raises(Enough):
        list(gaussian.iterate({"lambda": 1.0}, (1e9,), seed=3))
    assert max(count for _, count, _ in ledger.charges) == gaussian.batch


def test_abandoning_a_trial_leaves_the_rest_unpaid(gaussian: FinetuneGaussian) -> None:
    gaussian.meter = ledger = Ledger()
    next(gaussian.iterate({"lambda": 1.0}, (0.1, 1.0), seed=3))
    assert ledger.total("reward") == gaussian.samples // 10


def test_following_a_budget_there_is_nothing_to_pay(gaussian: FinetuneGaussian) -> None:
    gaussian.meter = ledger = Ledger()
    candidates = list(gaussian.iterate({"lambda": 1.0}, (0.5, 1.0), 3, progress=lambda: 0.0))
    assert [c.params for c in candidates] == [{"lambda": 1.0}]
    assert not ledger.charges


def test_score_is_the_loss_of_the_trial_or_of_fresh_samples(gaussian: FinetuneGaussian) -> None:
    rewards = Rewards(upper=torch.tensor([1.0, 2.0]), lower=torch.zeros(2))
    assert gaussian.score(Candidate({"lambda": 1.0}, rewards), seed=0) == -1.5
    fresh = gaussian.score(Candidate({"lambda": 0.8}), seed=0)
    exact = gaussian.evaluate(Candidate({"lambda": 0.8}), seed=0)["reward"]
    assert fresh == pytest.approx(-exact, abs=0.03)


def test_seeds_decide_everything(gaussian: FinetuneGaussian) -> None:
    same = [gaussian.guided({"lambda": 1.0}, 10, seed=5).upper for _ in range(2)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], gaussian.guided({"lambda": 1.0}, 10, seed=6).upper)
    assert len({child_seed(seed, index) for seed in range(5) for index in range(5)}) == 25


def test_rehearsal_covers_every_operation_of_a_run(gaussian: FinetuneGaussian) -> None:
    gaussian.meter = ledger = Ledger()
    gaussian.rehearse(seed=0)
    assert {name for name, _, _ in ledger.charges} == {"denoise", "guided_denoise", "reward"}


def test_strengths_are_shared_or_per_class() -> None:
    assert strengths({"lambda": 2.0}).tolist() == [2.0]
    per_class = {f"lambda_{i}": float(i + 1) for i in reversed(range(10))}
    assert strengths(per_class).tolist() == [float(i + 1) for i in range(10)]


# -- the digits -----------------------------------------------------------------------------


def test_rewards_of_known_images() -> None:
    model = InkAndRecognition()
    model.ink_mean.fill_(-0.5)
    model.ink_scale.fill_(0.25)
    images = torch.full((3, 1, 8, 8), 0.125)
    targets = torch.tensor([1.5, 2.5, 0.5])
    labels = torch.tensor([0, 4, 9])
    assert model.lower(images).tolist() == pytest.approx([2.5] * 3)
    recognition = model.recognition(images, labels)
    expected = recognition - 0.2 * (2.5 - targets) ** 2
    torch.testing.assert_close(model.upper(images, labels, targets), expected)
    every = model.recognition(images[:1].expand(10, -1, -1, -1), torch.arange(10))
    assert every.sum().item() == pytest.approx(1)


def test_pre_trained_ink_is_standardised(digits: FinetuneDigits) -> None:
    rewards = digits.pool(1000, seed=0)
    assert rewards.lower.mean().item() == pytest.approx(0, abs=0.15)
    assert rewards.lower.std().item() == pytest.approx(1, abs=0.1)


def test_reward_has_an_interior_optimum(digits: FinetuneDigits) -> None:
    upper, lower = {}, {}
    for strength in (100.0, 10.0, 1.1, 0.1):
        rewards = digits.guided({"lambda": strength}, 500, seed=1)
        upper[strength] = rewards.upper.mean().item()
        lower[strength] = rewards.lower.mean().item()
    assert lower[100.0] < lower[10.0] < lower[1.1] < lower[0.1]
    assert upper[1.1] > upper[10.0] + 0.15 > upper[100.0] + 0.15
    assert upper[1.1] > upper[0.1] + 1


def test_digits_metrics_images_and_charges(digits: FinetuneDigits) -> None:
    digits.meter = ledger = Ledger()
    digits.evaluation_samples = 300  # type: ignore[misc]
    try:
        values = digits.evaluate(Candidate({"lambda": 5.0}), seed=2)
    finally:
        del digits.evaluation_samples
    assert set(values) == {metric.name for metric in digits.metrics}
    assert 0 < values["fid"] < 10
    assert values["recognised"] > 0.8
    assert ledger.total("guided_denoise") == 300 * digits.sampler.steps
    assert max(count for _, count, _ in ledger.charges) == digits.batch
    images = digits.images(Candidate({"lambda": 5.0}), 12, seed=2)
    assert images.shape == (12, 8, 8)
    assert images.dtype == np.uint8
    assert images.max() > 200


def test_evaluator_names_its_weights_and_sample_sizes(digits: FinetuneDigits) -> None:
    identity = digits.evaluator()
    assert identity["samples"] == 2000
    assert identity["reference"] == "digits report split, 400 images"
    assert set(identity["weights"]) == {
        "diffusion-digits",
        "rewards-digits",
        "features-digits-first",
        "features-digits-second",
    }


def test_extreme_guidance_stays_finite(digits: FinetuneDigits) -> None:
    rewards = digits.guided({"lambda": 0.01}, 100, seed=3)
    assert torch.isfinite(rewards.upper).all()


def test_one_strength_per_class_guides_each_class_by_its_own(digits: FinetuneDigits) -> None:
    params = {f"lambda_{i}": 0.5 if i < 5 else 100.0 for i in range(10)}
    rewards = digits.guided(params, 500, seed=4)
    assert rewards.group is not None
    strong = rewards.lower[rewards.group < 5].mean()
    assert strong > rewards.lower[rewards.group >= 5].mean() + 1


def test_ink_targets_differ_by_class(digits: FinetuneDigits) -> None:
    assert len(FinetuneDigitsPerClass.space) == len(FinetuneDigitsPerClass.ink_targets) == 10
    task = FinetuneDigitsPerClass()
    task.setup()
    shared = digits.guided({"lambda": 2.0}, 200, seed=6)
    by_class = task.guided({f"lambda_{i}": 2.0 for i in range(10)}, 200, seed=6)
    torch.testing.assert_close(by_class.lower, shared.lower)
    group = shared.group
    assert group is not None
    same = group == FinetuneDigitsPerClass.ink_targets.index(1.5)
    torch.testing.assert_close(by_class.upper[same], shared.upper[same])
    assert not torch.isclose(by_class.upper[~same], shared.upper[~same]).any()


@pytest.mark.parametrize("task", [FinetuneGaussian, FinetuneDigits, FinetuneMnist])
def test_the_default_is_worth_tuning_and_construction_is_free(task: type[FinetuneTask]) -> None:
    made = task()
    assert made.family == "finetune"
    assert made.space.validate(made.space.default) == {"lambda": 10.0}
    assert not hasattr(made, "model")
