"""The published algorithm on schedules: its settings, each of its options, and its gradients."""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import pytest
import torch
from test_bilevel_schedule import PricedProblem
from torch import Tensor

from methods.base import Problem
from methods.bilevel_paper import PublishedBilevel
from methods.bilevel_paper.schedule import (
    BOX,
    REPAIRED_STEPS,
    START,
    Options,
    ScheduleRun,
    bounded,
    named,
    one_cycle,
)
from tasks.base import Candidate
from tasks.schedule.gaussian import ScheduleGaussian, lower_solution
from tasks.schedule.gaussian import ScheduleGaussianPublished as Published
from tasks.schedule.plans import PUBLISHED, TABLE, visited

DEFAULT = torch.tensor(list(START.values()), dtype=torch.float64)
REPAIRED: dict[str, Any] = {
    "common_noise": True,
    "true_theta_z": True,
    "shared_batch": True,
    "perturb": "learned",
    "samples": 128,
    "steps": REPAIRED_STEPS,
}


@pytest.fixture
def task() -> Published:
    task = Published()
    task.setup()
    return task


def problem(task: Published, budget: float = 1000, seed: int = 0) -> PricedProblem:
    """Budget in primitives; a denoising step is one."""
    return PricedProblem(task, budget, seed)


def run(problem: PricedProblem, **options: Any) -> PricedProblem:
    PublishedBilevel(schedule=options).run(cast(Problem, problem))
    return problem


def begun(problem: PricedProblem, **options: Any) -> ScheduleRun:
    return ScheduleRun(cast(Problem, problem), Options(**options))


def at_the_solution(task: Published, point: Tensor, **options: Any) -> ScheduleRun:
    """A run whose theta_y is the lower level's exact solution at `point`."""
    result = begun(problem(task, math.inf), **options)
    result.place(point)
    result.average.copy_(point)
    exact = lower_solution(result.levels(point))
    for net in (result.training.net, result.training.ema):
        net.load_state_dict({"coefficients": exact})
    return result


# -- settings -------------------------------------------------------------------------------


def test_settings_as_published() -> None:
    assert Options() == Options(
        inner=10, inner_z=1, gamma=1, radius=0.01, steps=(0.05, 0.05, 1, 0.05), initial=2 / 3,
        samples=36, directions=1, common_noise=False, true_theta_z=False, shared_batch=False,
        perturb="average",
    )  # fmt: skip


def test_one_cycle_is_that_of_pytorch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimiser = torch.optim.AdamW([parameter])
    steps = 401
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1.0, total_steps=steps, pct_start=0.25, anneal_strategy="cos"
    )
    for step in range(steps):
        rate, momentum = one_cycle(step / (steps - 1))
        group = optimiser.param_groups[0]
        assert group["lr"] == pytest.approx(rate, abs=0.02)
        assert group["betas"][0] == pytest.approx(momentum, abs=0.002)
        optimiser.step()
        if step + 1 < steps:
            cycle.step()
    assert one_cycle(0.25) == (1.0, pytest.approx(0.85))
    assert one_cycle(0.0)[0] == 1 / 25
    assert one_cycle(1.0)[0] == pytest.approx(4e-6)


def test_the_form_is_the_published_one(task: Published) -> None:
    start, end, tau, eps = 0.3, 0.95, 1.7, 0.02
    u = torch.arange(TABLE + 1, dtype=torch.float64) / TABLE
    angle = (u * (end - start) + start / TABLE + eps) / (1 + eps)
    signal = torch.cos(angle * torch.pi / 2) ** (2 * tau)
    point = torch.tensor([start, end, tau, eps], dtype=torch.float64)
    levels = begun(problem(task)).levels(point)
    assert torch.allclose(torch.sigmoid(levels), signal[1:] / signal[0])


def test_the_box_is_the_published_one() -> None:
    low, high = torch.tensor(list(BOX.values()), dtype=torch.float64).T
    assert bounded(DEFAULT).tolist() == list(START.values())
    assert bounded(low - 1).tolist() == low.tolist()
    for point in (low, high, bounded(high + 1)):
        PUBLISHED.space.validate(named(point))
    assert {v.name: (v.low, v.high) for v in PUBLISHED.space.variables} == BOX


def test_on_other_spaces_the_nearest_plan_is_recorded() -> None:
    """The network is trained and sampled at the levels of the cosine table all the same."""
    task = ScheduleGaussian()
    task.setup()
    assert PublishedBilevel.supports(ScheduleGaussian)
    found = run(problem(task, 500)).reports[0][1]
    table = begun(problem(task)).levels(DEFAULT)
    assert found.params == task.plans.nearest(table)
    assert torch.equal(found.state["levels"], visited(table, task.evaluations))
    task.space.validate(found.params)


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="perturb"):
        PublishedBilevel(schedule={"perturb": "copy"})
    with pytest.raises(ValueError, match="steps"):
        PublishedBilevel(schedule={"steps": (1.0,)})
    with pytest.raises(ValueError, match="unknown setting 'lamda'"):
        PublishedBilevel(schedule={"lamda": 1})


# -- the run --------------------------------------------------------------------------------


def schedules(found: PricedProblem) -> list[tuple[float, dict[str, float]]]:
    return [(share, candidate.params) for share, candidate in found.reports]


def test_the_schedule_moves_after_two_thirds(task: Published) -> None:
    found = schedules(run(problem(task, 2000)))
    assert all(p == task.space.default for share, p in found if share < 0.985 * 2 / 3)
    assert any(p != task.space.default for _, p in found)


@pytest.mark.parametrize("options", [{}, REPAIRED])
def test_reports_come_in_time_and_regularly(task: Published, options: dict[str, Any]) -> None:
    found = run(problem(task, 3000), **options)
    shares = [share for share, _ in found.reports]
    assert 10 <= len(shares) <= 13
    assert shares[0] < 0.12
    assert 0.95 < shares[-1] < 1
    assert max(b - a for a, b in itertools.pairwise(shares)) < 0.12


@pytest.mark.slow
def test_as_published_tau_goes_from_end_to_end_of_its_box(task: Published) -> None:
    taus = [
        candidate.params["tau"]
        for seed in range(4)
        for share, candidate in run(problem(task, 3000, seed)).reports
        if share > 0.75
    ]
    assert max(taus) > 3
    calm = run(problem(task, 3000), steps=REPAIRED_STEPS)
    assert calm.reports[-1][1].params["tau"] < 2.5


@pytest.mark.parametrize("options", [{}, REPAIRED])
def test_an_interrupted_run_goes_on_identically(task: Published, options: dict[str, Any]) -> None:
    whole = run(problem(task), **options)
    for used, state in (whole.states[2], whole.states[-2]):
        resumed = problem(task)
        resumed.used, resumed.restored = used, state
        run(resumed, **options)
        (share, last), (expected_share, expected) = resumed.reports[-1], whole.reports[-1]
        assert share == expected_share
        assert last.params == expected.params
        assert torch.equal(last.state["levels"], expected.state["levels"])
        assert torch.equal(weights(last), weights(expected))


def weights(candidate: Candidate) -> Tensor:
    return candidate.state["weights"]["coefficients"]


def test_checkpoints_hold_plain_values(task: Published, tmp_path: Any) -> None:
    _, state = run(problem(task), **REPAIRED).states[-1]
    torch.save(state, tmp_path / "state.pt")
    torch.load(tmp_path / "state.pt", weights_only=True)


# -- each option ----------------------------------------------------------------------------


def spread_of(task: Published, **options: Any) -> float:
    """Sd of dF/dtau over iterations."""
    result = at_the_solution(task, DEFAULT, **options)
    found = []
    for result.iteration in range(60):
        found.append(result.upper_gradient(result.training.net)[2])
    return float(torch.stack(found).std())


@pytest.mark.slow
def test_common_noise_and_samples_and_directions_cut_the_spread(
    task: Published,
) -> None:
    as_published = spread_of(task)
    assert spread_of(task, common_noise=True) < 0.15 * as_published  # 60 draws know a ratio to 13 %
    assert spread_of(task, samples=36 * 16) < 0.4 * as_published
    assert spread_of(task, directions=16) < 0.4 * as_published


def test_without_steps_of_theta_z_the_penalty_is_noise(task: Published) -> None:
    result = at_the_solution(task, DEFAULT)
    net = result.joint_net(0.5)
    assert net is result.training.net
    found = []
    for result.iteration in range(200):
        found.append(result.penalty_gradient(net))
    stacked = torch.stack(found)
    assert (stacked.mean(dim=0).abs() <= 4 * stacked.std(dim=0) / math.sqrt(200)).all()
    same = at_the_solution(task, DEFAULT, shared_batch=True)
    assert not same.penalty_gradient(same.training.net).any()


def test_true_steps_of_theta_z_lower_the_distance(task: Published) -> None:
    result = at_the_solution(task, DEFAULT, true_theta_z=True, inner_z=5, samples=500)
    before = weights_of(result.training.net).clone()
    net = result.joint_net(0.25)
    assert not torch.equal(weights_of(net), before)
    assert torch.equal(weights_of(result.training.net), before)
    levels = visited(result.levels(DEFAULT), task.evaluations)
    noise = task.noise(5000, task.generator(9))
    moved, stayed = (
        task.frechet(task.sample(n, levels, noise)) for n in (net, result.training.net)
    )
    assert moved < stayed


def weights_of(net: torch.nn.Module) -> Tensor:
    return net.state_dict()["coefficients"]


def test_gradients_leave_nothing_behind_in_the_networks(task: Published) -> None:
    result = at_the_solution(task, DEFAULT, true_theta_z=True)
    net = result.joint_net(0.5)
    result.penalty_gradient(net)
    for used in (net, result.training.net):
        assert all(p.grad is None or not p.grad.any() for p in used.parameters())


@pytest.mark.slow
def test_the_perturbed_schedule_is_the_average_or_the_learned_one(
    task: Published,
) -> None:
    moved = torch.tensor([0.0, 0.9, 1.5, 0.008], dtype=torch.float64)
    for perturb, point in (("average", DEFAULT), ("learned", moved)):
        result = at_the_solution(
            task, DEFAULT, perturb=perturb, common_noise=True, samples=1000, directions=300
        )
        result.place(moved)
        found = result.upper_gradient(result.training.net)
        exact = partial_gradient(task, DEFAULT, point)
        assert torch.cosine_similarity(found, exact, dim=0) > 0.95
        result.report()
        _, candidate = cast(PricedProblem, result.problem).reports[-1]
        assert candidate.params["tau"] == 1.5
        assert candidate.shown["sampling: tau"] == float(point[2])


def test_the_average_follows_the_learned_schedule(task: Published) -> None:
    def sampled(candidate: Candidate) -> dict[str, float]:
        return {name: candidate.shown[f"sampling: {name}"] for name in BOX}

    last = run(problem(task)).reports[-1][1]
    assert sampled(last) != last.params
    last = run(problem(task), perturb="learned").reports[-1][1]
    assert sampled(last) == last.params


# -- signs ----------------------------------------------------------------------------------


def partial_gradient(task: Published, trained: Tensor, point: Tensor) -> Tensor:
    """Exact dF/dq at `point` of the network that is best under `trained`: `(4,)`."""
    helper = begun(problem(task))
    coefficients = lower_solution(helper.levels(trained))
    moving = point.clone().requires_grad_()
    levels = visited(helper.levels(moving), task.evaluations)
    task.distance(coefficients, levels).backward()
    assert moving.grad is not None
    return moving.grad


@pytest.mark.parametrize(
    "point",
    [
        (0.05, 0.95, 1.2, 0.01),
        *(
            pytest.param(point, marks=pytest.mark.slow)
            for point in ((0.0, 0.8, 2.5, 0.01), (0.2, 0.95, 1.0, 0.01))
        ),
    ],
)
def test_upper_gradient_is_that_of_the_distance(task: Published, point: tuple[float, ...]) -> None:
    q = torch.tensor(point, dtype=torch.float64)
    result = at_the_solution(
        task, q, common_noise=True, samples=1000, directions=300, perturb="learned"
    )
    found, exact = result.upper_gradient(result.training.net), partial_gradient(task, q, q)
    assert torch.cosine_similarity(found, exact, dim=0) > 0.95
    assert float(exact[0]) == pytest.approx(
        -float(exact[1]), rel=0.05
    )  # start acts through the width


def test_penalty_gradient_is_that_of_the_losses(task: Published) -> None:
    """On one batch, against finite differences of L(theta_z; q) - L(theta_y; q)."""
    q = torch.tensor([0.05, 0.95, 1.2, 0.01], dtype=torch.float64)
    result = at_the_solution(task, q, true_theta_z=True, shared_batch=True, inner_z=20)
    net = result.joint_net(0.25)
    found = result.penalty_gradient(net)
    batch = task.batch(result.generator("penalty"))

    def gap(point: Tensor) -> Tensor:
        levels = result.levels(point)
        return task.loss(net, levels, batch) - task.loss(result.training.net, levels, batch)

    sizes = torch.tensor([0.02, 0.02, 0.02, 0.002], dtype=torch.float64)
    pairs = [(gap(q + h), gap(q - h)) for h in torch.diag(sizes)]
    expected = torch.stack([above - below for above, below in pairs]) / (2 * sizes)
    assert torch.allclose(found, expected, rtol=0.05, atol=1e-3)


def test_steps_descend(task: Published) -> None:
    """From far off, with everything repaired, the first move lowers the distance."""
    q = torch.tensor([0.0, 0.8, 3.0, 0.01], dtype=torch.float64)
    result = at_the_solution(task, q, **REPAIRED | {"directions": 20})
    for result.iteration in range(10):
        result.move(0.25)
    sets = [visited(result.levels(point), task.evaluations) for point in (q, result.point())]
    noise = task.noise(5000, task.generator(9))
    before, after = (task.frechet(task.sample(result.training.net, t, noise)) for t in sets)
    assert after < before
