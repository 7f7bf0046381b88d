"""Zeroth-order gradients: bias and variance against what the formulas predict, in float64.

Tolerances of statistical tests are four standard errors or more, at fixed seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tasks.schedule.estimators import Objective, coordinate, direction, draw_seed, two_point
from tasks.schedule.gaussian import ScheduleGaussian

SLOPE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
CURVATURE = torch.tensor([[2.0, 0.3, 0.0], [0.3, -1.0, 0.4], [0.0, 0.4, 0.5]], dtype=torch.float64)
HERE = torch.tensor([0.2, 0.5, -0.3], dtype=torch.float64)
GRADIENT = SLOPE + CURVATURE @ HERE
SQUARE = float(GRADIENT @ GRADIENT)
REPEATS = 4000


def quadratic(q: Tensor, seed: int = 0) -> Tensor:
    return 3 + SLOPE @ q + q @ CURVATURE @ q / 2


def noisy(spread: float, tilt: float = 0.0) -> Objective:
    """The quadratic with noise of its value, and of its slope in every coordinate."""

    def objective(q: Tensor, seed: int) -> Tensor:
        noise = torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return quadratic(q) + spread * noise[0] + tilt * noise[1:] @ q

    return objective


def repeated(estimate: Callable[[torch.Generator], Tensor], repeats: int = REPEATS) -> Tensor:
    """`(repeats, 3)` independent estimates."""
    generator = torch.Generator().manual_seed(1)
    return torch.stack([estimate(generator) for _ in range(repeats)])


def estimates(
    objective: Objective, radius: float = 0.1, repeats: int = REPEATS, **options: Any
) -> Tensor:
    return repeated(lambda g: two_point(objective, HERE, radius, g, **options), repeats)


def variance(values: Tensor) -> float:
    """Trace of the covariance."""
    return float(values.var(dim=0).sum())


@pytest.mark.parametrize("central", [True, False])
@pytest.mark.parametrize("sphere", [True, False])
@pytest.mark.parametrize("radius", [0.01, 10.0])
def test_unbiased_for_a_quadratic(central: bool, sphere: bool, radius: float) -> None:
    values = estimates(quadratic, radius, sphere=sphere, central=central)
    error = (values.mean(dim=0) - GRADIENT) / (values.std(dim=0) / math.sqrt(REPEATS))
    assert error.abs().amax() < 5


@pytest.mark.parametrize("sphere", [True, False])
def test_covariance_of_one_direction(sphere: bool) -> None:
    d, outer = 3, GRADIENT.outer(GRADIENT)
    if sphere:
        expected = (d * SQUARE * torch.eye(d) + (d - 2) * outer) / (d + 2)
    else:
        expected = SQUARE * torch.eye(d) + outer
    found = torch.cov(estimates(quadratic, sphere=sphere, repeats=10_000).T)
    assert torch.allclose(found, expected.double(), atol=(0.1 if sphere else 0.25) * SQUARE)


@pytest.mark.parametrize(("sphere", "factor"), [(True, 1.0), (False, 3.0)])
def test_bias_of_a_cubic_grows_with_the_radius_squared(sphere: bool, factor: float) -> None:
    """(F(q + rv) - F(q - rv)) v / 2r of q³ is 3 q² v² + r² v⁴; E[v⁴] is 1 or 3 in one dimension."""
    here = torch.tensor([0.7], dtype=torch.float64)
    for radius in (0.5, 1.0, 2.0):
        generator = torch.Generator().manual_seed(0)
        values = torch.stack(
            [
                two_point(lambda q, _: (q**3).sum(), here, radius, generator, sphere=sphere)
                for _ in range(REPEATS)
            ]
        )
        bias = float(values.mean()) - 3 * 0.7**2
        margin = 5 * float(values.std()) / math.sqrt(REPEATS)
        assert bias == pytest.approx(factor * radius**2, abs=margin + 1e-9)


@pytest.mark.parametrize("radius", [0.05, 0.5, 5.0])
def test_coordinates_of_a_cubic_are_off_by_the_radius_squared(radius: float) -> None:
    found = coordinate(lambda q, _: (q**3).sum(), HERE, radius, torch.Generator())
    assert torch.allclose(found, 3 * HERE**2 + radius**2)


@pytest.mark.parametrize("radius", [0.1, 0.2, 0.4])
def test_fresh_noise_adds_a_variance_that_falls_with_the_radius(radius: float) -> None:
    d, spread = 3, 1.0
    expected = (d + 1) * SQUARE + d * spread**2 / (2 * radius**2)
    found = variance(estimates(noisy(spread), radius, common=False))
    assert found == pytest.approx(expected, rel=0.15)


def test_common_noise_adds_none_at_any_radius() -> None:
    spreads = [variance(estimates(noisy(1.0), radius)) for radius in (1e-3, 0.1, 10.0)]
    assert spreads == pytest.approx([4 * SQUARE] * 3, rel=0.15)
    assert spreads == pytest.approx([spreads[0]] * 3, rel=1e-6)


def test_ratio_of_the_variances_of_common_and_fresh_noise() -> None:
    """Noise of the slope, w · q, stays with common random numbers: its gradient is g + w."""
    d, spread, tilt, radius = 3, 0.5, 1.5, 0.2
    at_the_sides = tilt**2 * (float(HERE @ HERE) + radius**2 * (d + 2))  # E[|q + rv|² |v|²] / d
    fresh = (d + 1) * SQUARE + d * (spread**2 + at_the_sides) / (2 * radius**2)
    common = (d + 1) * SQUARE + (d + 2) * d * tilt**2
    found = [
        variance(estimates(noisy(spread, tilt), radius, repeats=10_000, common=shared))
        for shared in (True, False)
    ]
    assert found == pytest.approx([common, fresh], rel=0.1)
    assert found[0] / found[1] == pytest.approx(common / fresh, rel=0.15)


@pytest.mark.parametrize("common", [True, False])
def test_directions_divide_the_variance(common: bool) -> None:
    one, eight = (
        variance(estimates(noisy(0.3), directions=count, common=common)) for count in (1, 8)
    )
    assert one / eight == pytest.approx(8, rel=0.15)


def test_coordinates_have_no_variance_but_the_noise() -> None:
    fresh = repeated(lambda g: coordinate(noisy(1.0), HERE, 0.1, g, common=False))
    assert torch.allclose(fresh.var(dim=0), torch.full((3,), 50.0).double(), rtol=0.15)
    shared = repeated(lambda g: coordinate(noisy(1.0), HERE, 0.1, g), 5)
    assert torch.allclose(shared, GRADIENT.expand(5, 3))


@pytest.mark.parametrize(
    ("estimator", "options", "values", "seeds"),
    [
        (two_point, {"directions": 4}, 8, 4),
        (two_point, {"directions": 4, "common": False}, 8, 8),
        (two_point, {"directions": 4, "central": False}, 5, 1),
        (two_point, {"directions": 4, "central": False, "common": False}, 5, 5),
        (coordinate, {}, 6, 3),
        (coordinate, {"common": False}, 6, 6),
    ],
)
def test_cost_and_seeds(estimator: Any, options: Any, values: int, seeds: int) -> None:
    seen: list[int] = []

    def objective(q: Tensor, seed: int) -> float:
        seen.append(seed)
        return float(quadratic(q))

    estimator(objective, HERE, 0.1, torch.Generator().manual_seed(0), **options)
    assert (len(seen), len(set(seen))) == (values, seeds)


def test_refuses_no_radius_and_no_directions() -> None:
    with pytest.raises(ValueError, match="radius"):
        two_point(quadratic, HERE, 0.0, torch.Generator())
    with pytest.raises(ValueError, match="radius"):
        coordinate(quadratic, HERE, math.nan, torch.Generator())
    with pytest.raises(ValueError, match="direction"):
        two_point(quadratic, HERE, 0.1, torch.Generator(), 0)


seeds = st.integers(0, 2**32)
dimensions = st.integers(1, 6)
radii = st.floats(1e-4, 1e2)


@given(seeds, dimensions, radii)
def test_a_linear_objective_has_its_slope_at_any_radius(seed: int, d: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    slope, here = torch.randn((2, d), generator=generator, dtype=torch.float64)
    found = coordinate(lambda q, _: slope @ q, here, radius, generator)
    assert torch.allclose(found, slope, atol=1e-8)
    for central in (True, False):
        generator.manual_seed(seed)
        found = two_point(lambda q, _: slope @ q, here, radius, generator, central=central)
        generator.manual_seed(seed)
        if not central:
            draw_seed(generator)
        v = direction(here, generator)
        assert torch.allclose(found, (slope @ v) * v, atol=1e-8)


@given(seeds, dimensions, st.floats(-1e3, 1e3))
def test_a_constant_does_not_matter_with_common_noise(seed: int, d: int, level: float) -> None:
    here = torch.zeros(d, dtype=torch.float64)

    def objective(q: Tensor, noise_seed: int) -> float:
        return level + noise_seed % 1000

    for central in (True, False):
        generator = torch.Generator().manual_seed(seed)
        assert not two_point(objective, here, 0.1, generator, 3, central=central).any()


@given(seeds, dimensions)
def test_directions_on_the_sphere_have_its_radius(seed: int, d: int) -> None:
    like = torch.empty(d, dtype=torch.float64)
    v = direction(like, torch.Generator().manual_seed(seed), sphere=True)
    assert float(v @ v) == pytest.approx(d)


@given(seeds, radii, st.booleans(), st.booleans())
def test_a_seed_makes_an_estimate(seed: int, radius: float, common: bool, sphere: bool) -> None:
    first, second = (
        two_point(
            noisy(1.0, 1.0),
            HERE,
            radius,
            torch.Generator().manual_seed(seed),
            2,
            common=common,
            sphere=sphere,
        )
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_agrees_with_the_pathwise_gradient_of_a_task() -> None:
    """The same noise on both sides, and the same noise through the sampler."""
    task = ScheduleGaussian()
    task.setup()
    net = task.begin(0).net
    noise = task.noise(500, task.generator(3))
    moving = torch.full((7,), 0.5, dtype=torch.float64, requires_grad=True)
    task.frechet_gradient(net, task.sampling_levels(moving), noise)
    assert moving.grad is not None

    def distance(q: Tensor, seed: int) -> Tensor:
        return task.frechet(task.sample(net, task.sampling_levels(q), noise))

    found = coordinate(distance, moving.detach(), 1e-2, torch.Generator())
    assert torch.allclose(found, moving.grad, rtol=5e-3)
