"""The rivals of `bilevel` on schedules: their plans, their last phases, and resumption."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from test_bilevel_schedule import PricedProblem, weights

from methods.base import Method, Problem
from methods.ddss import DDSS
from methods.edm import EDM
from methods.fd_loss import FDLoss
from methods.info_noise import CENTRES, InfoNoise, Run, entropy_rate, informed
from methods.laplace import Laplace
from methods.ld3 import LD3
from methods.min_snr import GAMMA, MinSNR
from methods.pbt import PBT
from methods.zero_snr import ZeroSNR, rescaled
from tasks.base import FreeMeter
from tasks.diffusion.sampler import signal_and_spread
from tasks.schedule.gaussian import SCALES, LinearDenoiser, ScheduleGaussian
from tasks.schedule.plans import KARRAS, NORMAL, PLAN, PUBLISHED, resampled

TRAININGS: list[Callable[[], Method]] = [
    MinSNR, ZeroSNR, FDLoss, LD3, DDSS, InfoNoise, PBT,
]  # fmt: skip


@pytest.fixture
def task() -> ScheduleGaussian:
    task = ScheduleGaussian()
    task.setup()
    return task


def run(method: Method, problem: PricedProblem) -> PricedProblem:
    method.run(cast(Problem, problem))
    return problem


def default_table() -> torch.Tensor:
    return PUBLISHED.training_levels(torch.tensor(PUBLISHED.space.to_unit(PUBLISHED.space.default)))


@pytest.mark.parametrize("make", TRAININGS)
def test_an_interrupted_run_goes_on_identically(
    task: ScheduleGaussian, make: Callable[[], Method]
) -> None:
    whole = run(make(), PricedProblem(task, 600))
    assert 0.9 < whole.reports[-1][0] < 1
    for used, state in (whole.states[1], whole.states[-2]):
        again = PricedProblem(task, 600)
        again.used, again.restored = used, state
        run(make(), again)
        last, expected = again.reports[-1][1], whole.reports[-1][1]
        assert last.params == expected.params
        assert torch.equal(weights(last), weights(expected))
        ours, theirs = last.state["levels"], expected.state["levels"]
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.equal(ours, theirs)


@pytest.mark.parametrize("make", TRAININGS)
def test_checkpoints_hold_plain_values(
    task: ScheduleGaussian, make: Callable[[], Method], tmp_path: object
) -> None:
    _, state = run(make(), PricedProblem(task, 600)).states[-1]
    file = f"{tmp_path}/state.pt"
    torch.save(state, file)
    torch.load(file, weights_only=True)


def test_edm_and_laplace_train_at_their_plans() -> None:
    asked = []

    class Asking:
        def develop(self, params: dict[str, float]) -> None:
            asked.append(PLAN.space.validate(params))

    for method in (EDM(), Laplace()):
        method.run(cast(Problem, Asking()))
    assert asked == [NORMAL | KARRAS, PLAN.space.default]


def test_resampling_has_the_gradient_of_the_weights() -> None:
    """A mean over resampled levels is the weighted mean over the levels."""
    table = default_table()
    ratio = table.exp()
    weight = ratio.clamp(max=GAMMA) / ratio
    levels = resampled(table, weight)
    for function in (torch.tanh, lambda x: (x / 5).sin()):
        expected = float((function(table) * weight).sum() / weight.sum())
        assert float(function(levels).mean()) == pytest.approx(expected, abs=2e-3)
    assert (levels.diff() >= 0).all()


def test_zero_snr_ends_at_pure_noise_and_begins_as_before() -> None:
    levels = rescaled()
    linear = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    assert float(levels[-1]) < -15
    assert float(torch.sigmoid(levels[0])) == pytest.approx(float(linear[0]))
    assert (levels.diff() <= 0).all()


def test_min_snr_and_zero_snr_sample_their_own_tables(task: ScheduleGaussian) -> None:
    for method in (MinSNR(), ZeroSNR()):
        last = run(method, PricedProblem(task, 200)).reports[-1][1]
        assert last.state["levels"] is not None
        task.check(last)
        assert last.params != task.space.default


def test_fd_loss_lowers_the_distance_that_it_descends(task: ScheduleGaussian) -> None:
    reports = run(FDLoss(), PricedProblem(task, 2000)).reports
    halfway, last = reports[len(reports) // 2][1], reports[-1][1]
    assert task.evaluate(last, 0)["fid"] < 0.7 * task.evaluate(halfway, 0)["fid"]
    assert last.params == pytest.approx(task.space.default)


def test_ld3_moves_towards_the_images_of_its_teacher(task: ScheduleGaussian) -> None:
    last = run(LD3(share=0.5), PricedProblem(task, 3000)).reports[-1][1]
    task.meter = FreeMeter()
    start = task.sampling_levels(task.position(task.space.default))
    assert not torch.equal(last.state["levels"], start)
    noise, net = task.noise(200, task.generator(1)), task.network(last)
    target = task.sample(net, task.plans.sampling_levels(task.position(last.params), 40), noise)
    errors = [
        float((task.sample(net, levels, noise) - target).square().mean())
        for levels in (start, last.state["levels"])
    ]
    assert errors[1] < 0.8 * errors[0]


def test_ddss_lowers_the_distance_at_fixed_weights(task: ScheduleGaussian) -> None:
    """From few, badly placed evaluations; the weights are the same, so only the levels differ."""
    task.plans = task.plans.starting_at(rho=1.5)  # type: ignore[misc]
    task.space = task.plans.space  # type: ignore[misc]
    last = run(DDSS(share=0.6), PricedProblem(task, 1500)).reports[-1][1]
    task.meter = FreeMeter()
    start = task.sampling_levels(task.position(task.space.default))
    net = task.network(last)
    assert isinstance(net, LinearDenoiser)
    before, after = (
        float(task.distance(net.coefficients, levels)) for levels in (start, last.state["levels"])
    )
    assert after < 0.7 * before
    task.check(last)


def information(lsnr: torch.Tensor) -> torch.Tensor:
    """Mutual information of an image of `ScheduleGaussian` and its noisy form, nats a dimension."""
    scales = torch.tensor(SCALES, dtype=torch.float64)
    return torch.log1p(lsnr.exp()[:, None] * scales**2).mean(dim=1) / 2


class Bayes(torch.nn.Module):
    """The best denoiser of `ScheduleGaussian`."""

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        lsnr = -2 * torch.tan(level * torch.pi / 2).log()
        signal, spread = (part.view(-1, 1, 1, 1) for part in signal_and_spread(lsnr))
        scales = torch.tensor(SCALES, dtype=torch.float64)
        return spread * x / (signal**2 * scales**2 + spread**2)


def test_measured_losses_are_the_rate_at_which_noise_takes_information(
    task: ScheduleGaussian,
) -> None:
    problem = PricedProblem(task, 10_000)
    found = Run(cast(Problem, problem))
    found.training.ema = Bayes()
    for found.iteration in range(30 * len(CENTRES)):
        found.measure()
    exact = (information(CENTRES + 0.01) - information(CENTRES - 0.01)) / 0.02
    assert float((entropy_rate(found.losses) - exact).abs().max()) < 0.05
    assert found.losses[-1] > 5 * found.losses[CENTRES.tolist().index(-3)]


def test_info_noise_trains_where_noise_takes_information(task: ScheduleGaussian) -> None:
    """Against the density that exact losses ask for, and against the start it moved away from."""
    exact = (information(CENTRES + 0.01) - information(CENTRES - 0.01)) / 0.01
    wanted = informed(exact)
    task.plans = task.plans.starting_at(location=-4.0)  # type: ignore[misc]
    task.space = task.plans.space  # type: ignore[misc]
    problem = PricedProblem(task, 1500)
    found = Run(cast(Problem, problem))
    start = found.levels
    found.run()
    assert float((found.levels - wanted).abs().mean()) < 0.7
    assert float((start - wanted).abs().mean()) > 3
    last = problem.reports[-1][1]
    assert last.params["location"] > -2
    assert last.params["sigma_max"] == task.space.default["sigma_max"]


def test_info_noise_follows_the_losses() -> None:
    """A bump of the loss draws the levels there."""
    for centre in (-4.0, 2.0):
        levels = informed(torch.exp(-((CENTRES - centre) ** 2) / 2))
        assert float((levels - centre).abs().mean()) < 1.3
        assert (levels.diff() >= 0).all()


def test_pbt_leaves_bad_plans(task: ScheduleGaussian) -> None:
    last = run(PBT(spread=0.3), PricedProblem(task, 4000)).reports[-1][1]
    found, start = (
        float(task.truth(task.position(params))) for params in (last.params, task.space.default)
    )
    assert found < start


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: LD3(share=1.0), "share"), (lambda: PBT(members=1), "members")],
)
def test_options_that_make_no_sense_are_refused(make: Callable[[], Method], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
