"""Methods on a lower level that is trained, against the closed form of a Gaussian."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from benchmark.runs.runner import execute
from benchmark.runs.spec import RunSpec
from methods.bilevel.trained import Options, covariances
from methods.deradiff import next_mixture
from tasks.finetune.gaussian import mean_reward
from tasks.finetune.gaussian_trained import FinetuneGaussianTrained
from tests.tasks.test_finetune_trained import solved

OPTIMUM = 0.8
PRICES = {"trial": 1e-3, "train_step": 1e-3, "gradient": 1e-3, "update": 1e-4, "sample": 1e-6}
"""A trial of `finetune/gaussian-trained` then costs 63 ms."""


def best_reward(task: FinetuneGaussianTrained, strength: float) -> float:
    mean, variance, _ = (value.item() for value in task.law(solved(task, strength)))
    return mean_reward((mean, variance), 1.5)


def delivered(method: str, folder: Path, trials: int = 10, seed: int = 0) -> dict[str, float]:
    """Strength and exact E[r1] of what a run of so many trials delivers."""
    spec = RunSpec(
        "test", FinetuneGaussianTrained.name, method, method, seed, trials * 0.063 / 3600,
        str(folder), clock="priced", prices=PRICES,
    )  # fmt: skip
    outcome = execute(spec)
    assert outcome.status == "finished", outcome.reason
    last = [event for event in spec.folder.events() if event.get("incumbent")][-1]
    return {**last["params"], **last["metrics"]}


def test_the_hypergradient_is_that_of_the_solved_lower_level():
    """The covariance of a training batch, against a difference of two exact solutions."""
    task = FinetuneGaussianTrained()
    for strength in (0.4, 0.8, 2.5):
        step = 1.05
        ends = [best_reward(task, strength * factor) for factor in (1 / step, step)]
        exact = (ends[1] - ends[0]) / (2 * math.log(step))
        path = task.follow(solved(task, strength), 100_000, task.generator(0))
        rewards = path.rewards
        found = -float(torch.cov(torch.stack([rewards.upper, rewards.lower]).detach())[0, 1])
        assert found / strength == pytest.approx(exact, abs=0.03)


def test_bilevel_finds_the_optimum_in_one_training(tmp_path):
    found = delivered("bilevel", tmp_path)
    assert found["lambda"] == pytest.approx(OPTIMUM, rel=0.3)
    assert found["reward"] > best_reward(FinetuneGaussianTrained(), OPTIMUM) - 0.02


@pytest.mark.parametrize("method", ["pbt", "deradiff", "shared-grid", "successive-halving"])
def test_rivals_are_better_than_the_default(method, tmp_path):
    best = best_reward(FinetuneGaussianTrained(), OPTIMUM)
    start = best_reward(FinetuneGaussianTrained(), 10.0)
    assert delivered(method, tmp_path)["reward"] > start + 0.5 * (best - start)


def test_mixtures_close_in_on_the_best_and_end():
    scores: dict[float, float] = {}
    while (tried := next_mixture(scores)) is not None:
        scores[tried] = (tried - 0.7) ** 2
    assert min(scores, key=lambda mixture: scores[mixture]) == pytest.approx(0.7, abs=0.05)
    assert len(scores) < 25


@pytest.mark.parametrize(
    "options", [{"rate": 0.0}, {"pool": -1}, {"memory": 1.0}, {"settle": 0.0}, {"settle": 1.5}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Options(**options)


def test_covariances_are_numpys():
    from tasks.finetune.rewards import Rewards

    upper, lower = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    found = covariances(Rewards(upper, lower))
    assert found[0, 1].item() == pytest.approx(float(torch.cov(torch.stack([upper, lower]))[0, 1]))
