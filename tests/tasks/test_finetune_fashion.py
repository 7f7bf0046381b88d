"""The held-out task: rewards against independent formulas, and no images needed to run it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.special import logit
from torch import Tensor

from tasks.base import Candidate
from tasks.data import datasets
from tasks.finetune.fashion import FinetuneFashion, FinetuneFashionPerClass


@pytest.fixture(scope="module")
def task() -> FinetuneFashion:
    task = FinetuneFashion()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", lambda name: pytest.fail(f"asked for the images of {name}"))
        task.setup()
        task.evaluator()
    return task


@pytest.fixture(scope="module")
def drawn(task: FinetuneFashion) -> tuple[Tensor, Tensor]:
    images, labels, _ = task.draw(None, 400, 0)
    return images, labels


@torch.no_grad()
def test_r2_is_the_standardised_log_odds_of_the_guide(
    task: FinetuneFashion, drawn: tuple[Tensor, Tensor]
) -> None:
    images, labels = drawn
    chances = task.acceptance.guide.logits(images).double().softmax(dim=1)
    odds = logit(chances.gather(1, labels[:, None])[:, 0].numpy())
    found = task.lower(images, labels).double() * task.acceptance.odds_scale
    assert (found + task.acceptance.odds_mean).numpy() == pytest.approx(odds, abs=1e-3)
    pool = task.pool(2000, 1).lower
    assert pool.mean().item() == pytest.approx(0, abs=0.1)
    assert pool.std().item() == pytest.approx(1, abs=0.1)


@torch.no_grad()
def test_r1_accepts_what_the_judge_recognises_and_finds_typical(
    task: FinetuneFashion, drawn: tuple[Tensor, Tensor]
) -> None:
    images, labels = drawn
    rewards = task.acceptance
    features, centres = rewards.judge(images).numpy(), rewards.centres.numpy()
    accepted = []
    for row, seen, label in zip(features, rewards.judge.logits(images), labels, strict=True):
        far = mahalanobis(row, centres[label], rewards.precision.numpy()) ** 2
        accepted.append(seen.argmax() == label and far <= rewards.limits[label])
    assert task.upper(images, labels).tolist() == np.array(accepted, dtype=float).tolist()
    assert 0.2 < np.mean(accepted) < 0.95  # room on either side


def test_r1_is_no_function_of_r2(task: FinetuneFashion) -> None:
    """Samples with the same r2 are accepted and rejected, and r1 has no gradient to follow."""
    pool = task.pool(2000, 3)
    alike = (pool.lower - pool.lower.quantile(0.2)).abs() < 0.2
    assert 0.3 < pool.upper[alike].mean().item() < 0.8
    images = torch.zeros(2, 1, 14, 14, requires_grad=True)
    assert not task.upper(images, torch.tensor([0, 1])).requires_grad


def test_metrics_are_finite_and_named(task: FinetuneFashion) -> None:
    task.evaluation_samples = 200  # type: ignore[misc]
    found = task.evaluate(Candidate({"lambda": 2.0}), seed=0)
    assert set(found) == {metric.name for metric in task.metrics}
    assert all(np.isfinite(list(found.values())))


def test_every_class_has_its_own_strength_in_the_variant() -> None:
    assert len(FinetuneFashionPerClass.space) == 10
    assert FinetuneFashionPerClass.dataset == FinetuneFashion.dataset
