"""Fine-tuning by training, against the closed form of a Gaussian."""

from __future__ import annotations

import math

import pytest
import torch

from tasks.base import Candidate
from tasks.finetune.gaussian import tilted_law
from tasks.finetune.gaussian_trained import FinetuneGaussianTrained, Steering
from tasks.finetune.mnist_trained import FinetuneMnistTrained
from tasks.finetune.trained import TrainedOracles, Weights
from tasks.oracles import exposed
from tests.tasks.ledger import Ledger


@pytest.fixture
def task() -> FinetuneGaussianTrained:
    return FinetuneGaussianTrained()


def solved(task: FinetuneGaussianTrained, strength: float) -> Steering:
    """The exact minimiser of the lower level, by a deterministic optimiser on its exact value."""
    net = task.build()
    optimiser = torch.optim.LBFGS(
        net.parameters(), max_iter=400, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        mean, variance, divergence = task.law(net)
        value = ((mean - 3) ** 2 + variance) / 2 + strength * divergence
        value.backward()
        return value

    optimiser.step(loss)
    return net


def trained(task: FinetuneGaussianTrained, strength: float, steps: int) -> Candidate:
    (candidate,) = task.iterate({"lambda": strength}, (steps / task.trial_steps,), 0)
    return candidate


@pytest.mark.parametrize("strength", [0.3, 0.8, 3.0])
def test_the_lower_level_is_the_tilted_law(task, strength):
    """Within 0.5 % of a standard deviation of the data: what the start of a path remembers."""
    mean, variance, divergence = task.law(solved(task, strength))
    expected_mean, expected_variance = tilted_law(strength)
    assert float(mean) == pytest.approx(expected_mean, abs=0.005)
    assert float(variance) == pytest.approx(expected_variance, abs=0.005)
    kl = (expected_variance + expected_mean**2 - 1 - math.log(expected_variance)) / 2
    assert float(divergence) == pytest.approx(kl, rel=0.01)


@pytest.mark.parametrize("strength", [0.8, 3.0])
def test_training_converges_to_the_tilted_law(task, strength):
    mean, variance, _ = task.law(task.network(trained(task, strength, 200)))
    expected_mean, expected_variance = tilted_law(strength)
    assert float(mean) == pytest.approx(expected_mean, abs=0.03)
    assert float(variance) == pytest.approx(expected_variance, abs=0.03)


def test_a_standard_trial_finds_most_of_what_there_is(task):
    start = task.evaluate(task.candidate(task.build(), {"lambda": 0.8}), 0)
    found = task.evaluate(trained(task, 0.8, task.trial_steps), 0)
    best = task.evaluate(task.candidate(solved(task, 0.8), {"lambda": 0.8}), 0)
    gain = (found["reward"] - start["reward"]) / (best["reward"] - start["reward"])
    assert gain > 0.95


def test_exact_metrics_are_those_of_samples(task):
    net = solved(task, 0.8)
    path = task.follow(net, 200_000, task.generator(0))
    exact = task.evaluate(task.candidate(net, {"lambda": 0.8}), 0)
    assert float(path.rewards.upper.mean()) == pytest.approx(exact["reward"], abs=0.005)
    assert float(path.rewards.lower.mean()) == pytest.approx(exact["lower_reward"], abs=0.01)
    assert float(path.divergence.mean()) == pytest.approx(exact["kl"], abs=0.02)


def test_gradients_of_all_terms_are_those_of_the_exact_law(task):
    task.batch_size = 100_000
    net = solved(task, 2.0)
    mean, variance, divergence = task.law(net)
    exact = {
        Weights(upper=1.0): -((mean - 1.5) ** 2 + variance) / 2,
        Weights(lower=1.0): -((mean - 3) ** 2 + variance) / 2,
        Weights(divergence=1.0): divergence,
    }
    for weights, value in exact.items():
        (expected,) = torch.autograd.grad(value, net.table, retain_graph=True)
        net.table.grad = None
        task.gradient(net, weights, task.generator(1))
        assert torch.allclose(net.table.grad, expected, atol=0.02)


@pytest.mark.parametrize("mix", [0.0, 0.5, 2.0])
def test_mixing_emulates_other_strengths(task, mix):
    """p_pretrained^(1 - m) · p_lambda^m is p at lambda / m: nearly so where steps are mixed."""
    mean, variance, divergence = task.law(solved(task, 2.0), mix)
    expected_mean, expected_variance = tilted_law(2.0 / mix) if mix else (0.0, 1.0)
    assert float(mean) == pytest.approx(expected_mean, abs=0.15)
    assert float(variance) == pytest.approx(expected_variance, abs=0.1)
    assert (float(divergence) == pytest.approx(0.0, abs=1e-9)) == (mix == 0)


@pytest.mark.parametrize("mix", [-0.1, math.nan, math.inf])
def test_a_mix_that_is_none_is_refused(task, mix):
    with pytest.raises(ValueError, match="mix must be a number of at least 0"):
        task.check(task.candidate(task.build(), task.space.default, mix))


def test_oracles_are_metered(task):
    task.meter = ledger = Ledger()
    oracles = exposed(task)
    assert isinstance(oracles, TrainedOracles)
    training = oracles.begin(0)
    condition = oracles.condition(task.space.default)
    assert len(oracles.train_step(training, condition, 0.0)) == task.batch_size
    oracles.gradient(training.net, Weights(upper=1.0), oracles.generator(0))
    oracles.update(training, 0.0)
    task.score(oracles.candidate(training.net, task.space.default), 0)
    assert [name for name, *_ in ledger.charges] == ["train_step", "gradient", "update", "sample"]


def test_the_pretrained_digits_are_the_start():
    task = FinetuneMnistTrained()
    task.setup()
    net = task.build()
    with torch.no_grad():
        paths = [task.follow(net, 20, task.generator(0), mix) for mix in (1.0, 0.0)]
    assert torch.equal(paths[0].rewards.upper, paths[1].rewards.upper)
    assert not paths[0].divergence.any()


def test_digits_follow_the_reward_at_a_price():
    task = FinetuneMnistTrained()
    task.setup()
    training = task.begin(0)
    for _ in range(4):
        task.train_step(training, torch.tensor([0.3]), 0.0)
    with torch.no_grad():
        before, after = (
            task.follow(net, 100, task.generator(1)) for net in (task.build(), training.net)
        )
    assert after.rewards.lower.mean() > before.rewards.lower.mean()
    assert after.divergence.mean() > 0
    candidate = task.candidate(training.net, {"lambda": 0.3}, mix=0.5)
    task.check(candidate)
    halfway = task.sampled(candidate, 100, 0)[0].divergence.mean()
    assert 0 < halfway < after.divergence.mean()
