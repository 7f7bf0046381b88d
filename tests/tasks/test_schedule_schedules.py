"""Schedules: equal to diffusers where they coincide, sound and smooth over their whole box."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.schedule import schedules
from tasks.schedule.schedules import COSINE, LINEAR, SIGMOID, ScheduleFamily, betas

FAMILIES = {"cosine": COSINE, "sigmoid": SIGMOID, "linear": LINEAR}


def position(family: ScheduleFamily, **changes: float) -> torch.Tensor:
    return torch.tensor(family.space.to_unit(family.space.default | changes))


def test_default_cosine_is_squaredcos_cap_v2() -> None:
    theirs = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    ours = COSINE.alpha_bar(position(COSINE))
    torch.testing.assert_close(betas(ours).float(), theirs.betas, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(ours.float(), theirs.alphas_cumprod, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(1e-4, 2e-2), (1e-5, 5e-2)])
def test_linear_is_diffusers_linear(low: float, high: float) -> None:
    theirs = DDPMScheduler(1000, beta_start=low, beta_end=high, beta_schedule="linear")
    ours = LINEAR.alpha_bar(position(LINEAR, beta_start=low, beta_end=high))
    torch.testing.assert_close(betas(ours).float(), theirs.betas, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(ours.float(), theirs.alphas_cumprod, atol=1e-6, rtol=1e-4)


def test_sigmoid_has_its_closed_form_in_the_interior() -> None:
    table = SIGMOID.alpha_bar(position(SIGMOID))
    u = torch.tensor(0.4, dtype=torch.float64)
    signal = (torch.sigmoid(torch.tensor(3.0)) - torch.sigmoid(6 * u - 3)) / (
        torch.sigmoid(torch.tensor(3.0)) - torch.sigmoid(torch.tensor(-3.0))
    )
    assert float(table[399]) == pytest.approx(float(signal), rel=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_point_of_the_box_gives_a_usable_table(name: str, data: st.DataObject) -> None:
    family = FAMILIES[name]
    unit = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0]))
    point = torch.tensor(
        data.draw(st.tuples(*[unit] * len(family.space))), dtype=torch.float64
    ).requires_grad_()
    table = family.alpha_bar(point)
    steps = betas(table)
    assert table.shape == (schedules.STEPS,)
    assert torch.isfinite(table).all()
    assert (steps > 0).all()
    assert (steps <= 0.999 + 1e-9).all()
    assert (table > 0).all()
    assert (table < 1).all()
    assert (table.diff() < 0).all()
    table.sqrt().sum().backward()
    assert point.grad is not None
    assert torch.isfinite(point.grad).all()


def test_cosine_beyond_its_zero_is_clamped() -> None:
    wide = schedules.cosine(*torch.tensor([1.3, 0.2, 1.0, 0.008], dtype=torch.float64))
    assert torch.isfinite(wide).all()
    assert (wide > 0).all()
    assert (wide.diff() < 0).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_equal_finite_differences(name: str) -> None:
    family = FAMILIES[name]
    inside = torch.full((len(family.space),), 0.45, dtype=torch.float64).requires_grad_()
    visited = torch.tensor([0, 111, 555, 888, 999])
    assert torch.autograd.gradcheck(lambda x: family.alpha_bar(x)[visited], (inside,), atol=1e-7)


@pytest.mark.parametrize("name", FAMILIES)
def test_positions_agree_with_the_space(name: str) -> None:
    """The differentiable map from the unit cube is the space's own."""
    family = FAMILIES[name]
    unit = torch.linspace(0.1, 0.9, len(family.space), dtype=torch.float64)
    values = torch.tensor(list(family.space.from_unit(unit.numpy()).values()), dtype=torch.float64)
    torch.testing.assert_close(family.alpha_bar(unit), family.curve(*values))
