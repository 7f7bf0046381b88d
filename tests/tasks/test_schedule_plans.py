"""Plans: equal to their sources where they coincide, sound and smooth over their whole box."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from diffusers import DDPMScheduler, EDMEulerScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.schedule import plans
from tasks.schedule.plans import (
    COSINE,
    KARRAS,
    LAPLACE,
    NORMAL,
    PLAN,
    PUBLISHED,
    TABLE,
    PlanFamily,
    log_ratio,
    quantiles,
    refined,
    visited,
)
from tasks.schedule.schedules import betas, cosine

FAMILIES = {"plan": PLAN, "published": PUBLISHED}
U = quantiles(torch.zeros(1)).numpy()


def position(family: PlanFamily, **changes: float) -> Tensor:
    return torch.tensor(family.space.to_unit(family.space.default | changes))


def training(**changes: float) -> Tensor:
    return PLAN.training_levels(position(PLAN, **changes))


def test_the_default_is_laplace_training_and_edm_sampling() -> None:
    assert PLAN.space.default == LAPLACE | KARRAS
    levels = training()
    np.testing.assert_allclose(levels.numpy(), scipy.stats.laplace(scale=0.5).ppf(U), atol=1e-9)


def test_normal_training_levels_are_those_of_edm() -> None:
    expected = scipy.stats.norm(loc=2.4, scale=2.4).ppf(U)
    np.testing.assert_allclose(training(**NORMAL).numpy(), expected, atol=1e-9)
    log_sigma = -training(**NORMAL) / 2
    assert float(log_sigma.mean()) == pytest.approx(-1.2)
    assert float(log_sigma.std()) == pytest.approx(1.2, rel=0.01)


def test_sampling_levels_of_edm_equal_diffusers() -> None:
    theirs = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    theirs.set_timesteps(10)
    ours = (-PLAN.sampling_levels(position(PLAN), 10) / 2).exp()
    np.testing.assert_allclose(ours.numpy(), theirs.sigmas[:10].numpy(), rtol=1e-5)


def default_table() -> Tensor:
    return cosine(*torch.tensor([1.0, 0.0, 1.0, 0.008], dtype=torch.float64))


def test_the_cosine_point_is_near_the_cosine_table() -> None:
    table = log_ratio(default_table()).flip(0)
    inner = slice(50, 950)
    assert float((training(**COSINE) - table)[inner].abs().max()) < 0.16
    levels = PLAN.sampling_levels(position(PLAN, **COSINE), 10)
    assert float((levels - visited(log_ratio(default_table()), 10))[1:].abs().max()) < 0.2


def test_published_default_is_squaredcos_cap_v2() -> None:
    theirs = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    levels = PUBLISHED.training_levels(position(PUBLISHED))
    torch.testing.assert_close(
        torch.sigmoid(levels).float(), theirs.alphas_cumprod, atol=1e-6, rtol=1e-4
    )
    torch.testing.assert_close(
        betas(torch.sigmoid(levels)).float(), theirs.betas, atol=1e-6, rtol=1e-4
    )


def test_published_sampling_visits_even_entries() -> None:
    levels = PUBLISHED.training_levels(position(PUBLISHED))
    places = [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert torch.equal(PUBLISHED.sampling_levels(position(PUBLISHED), 10), levels[places])


@pytest.mark.parametrize("name", FAMILIES)
@given(data=st.data(), steps=st.sampled_from([5, 10, 20, 50]))
@settings(max_examples=60, deadline=None)
def test_every_point_of_the_box_gives_usable_levels(
    name: str, data: st.DataObject, steps: int
) -> None:
    family = FAMILIES[name]
    unit = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0]))
    point = torch.tensor(
        data.draw(st.tuples(*[unit] * len(family.space))), dtype=torch.float64
    ).requires_grad_()
    train, sample = family.training_levels(point), family.sampling_levels(point, steps)
    assert train.shape == (TABLE,)
    assert sample.shape == (steps,)
    assert torch.isfinite(train).all()
    assert torch.isfinite(sample).all()
    assert (sample.diff() > 0).all()
    assert float(sample.detach().abs().max()) < (21 if name == "plan" else 100)
    torch.autograd.backward(train.sum() + sample.sum())
    assert point.grad is not None
    assert torch.isfinite(point.grad).all()


@given(st.floats(-0.5, 1.25), st.floats(-5, 6), st.floats(0.3, 6))
def test_training_levels_are_quantiles(shape: float, location: float, scale: float) -> None:
    levels = training(shape=shape, location=location, scale=scale)
    assert (levels.diff() >= 0).all()
    if abs(location) + 12 * scale < plans.BOUND:
        assert float(levels.median()) == pytest.approx(location, abs=0.01 * scale)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_equal_finite_differences(name: str) -> None:
    family = FAMILIES[name]
    inside = torch.full((len(family.space),), 0.45, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: torch.cat([family.training_levels(x)[::111], family.sampling_levels(x, 10)]),
        (inside,),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_positions_agree_with_the_space(name: str) -> None:
    """The differentiable map from the unit cube is the space's own."""
    family = FAMILIES[name]
    unit = torch.linspace(0.1, 0.9, len(family.space), dtype=torch.float64)
    expected = family.space.from_unit(unit.numpy())
    found = {key: float(value) for key, value in family.values(unit).items()}
    assert found == pytest.approx(expected)


def test_the_nearest_plan_of_a_plan_is_itself() -> None:
    params = PLAN.space.default | {"location": 1.3, "scale": 1.7, "shape": 0.4}
    assert PLAN.nearest(training(**params)) == pytest.approx(params)
    PLAN.space.validate(PLAN.nearest(PUBLISHED.training_levels(position(PUBLISHED))))


def test_refined_levels_follow_the_same_path() -> None:
    levels = PLAN.sampling_levels(position(PLAN), 10)
    assert torch.equal(refined(levels, 10), levels)
    finer = refined(levels, 19)
    torch.testing.assert_close(finer[::2], levels)
    torch.testing.assert_close(finer[1::2], (levels[1:] + levels[:-1]) / 2)


def test_cosine_beyond_its_zero_is_clamped() -> None:
    wide = cosine(*torch.tensor([1.3, 0.2, 1.0, 0.008], dtype=torch.float64))
    assert torch.isfinite(wide).all()
    assert (wide > 0).all()
    assert (wide.diff() < 0).all()
    assert math.isfinite(float(log_ratio(wide).abs().max()))
