"""Precision, recall, density, coverage, memorisation: closed forms, and other implementations."""

from __future__ import annotations

import pytest
import torch

from tasks.metrics import neighbours
from tasks.metrics.neighbours import Agreement, NeighbourReference, memorisation, nearest, radii

INSTALL = "an oracle of the dev extra: pip install '.[dev]'"


def sets(real: int = 300, generated: int = 250, dimension: int = 6) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    options = {"generator": generator, "dtype": torch.float64}
    first = torch.randn(real, dimension, **options)
    return first, 0.7 * torch.randn(generated, dimension, **options) + 0.3


def test_all_four_are_those_of_prdc() -> None:
    prdc = pytest.importorskip("prdc", reason=INSTALL)
    real, generated = sets()
    theirs = prdc.compute_prdc(real.numpy(), generated.numpy(), nearest_k=4)
    ours = NeighbourReference(real, manifold=4, density=4).compare(generated)
    assert ours._asdict() == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("pairs", [1, 400, 5000])
def test_the_size_of_chunks_changes_nothing(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = sets(60, 50)
    expected = NeighbourReference(real).compare(generated)
    near = nearest(generated, real)
    monkeypatch.setattr(neighbours, "PAIRS", pairs)
    assert NeighbourReference(real).compare(generated) == pytest.approx(expected)
    torch.testing.assert_close(nearest(generated, real), near)


def test_a_line_of_points_by_hand() -> None:
    """Real samples at 0, 1, 2, ..., 9: the second neighbour of an inner one is 1 away, that of an
    end 2. The generated ones lie at 0.5, 1.5, 2.5 and far away."""
    real = torch.arange(10.0)[:, None]
    generated = torch.tensor([[0.5], [1.5], [2.5], [100.0]])
    found = NeighbourReference(real, manifold=2, density=2).compare(generated)
    assert found.precision == 3 / 4
    # Balls that hold 0.5: of 0 and 1; 1.5: of 0, 1 and 2; 2.5: of 2 and 3.
    assert found.density == pytest.approx((2 + 3 + 2 + 0) / 4 / 2)
    assert found.coverage == 4 / 10
    # Second neighbours of the generated: 2 (0.5), 1 (1.5), 2 (2.5), 98.5 (100): all from 1.5 up.
    assert found.recall == 1.0
    alone = NeighbourReference(real, manifold=1, density=1).compare(generated[:3])
    assert alone.recall == pytest.approx(4 / 10)  # 0, 1, 2, 3


def test_equal_sets_agree_and_distant_ones_do_not() -> None:
    real, _ = sets()
    same = NeighbourReference(real).compare(real)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert same.density >= 1
    far = NeighbourReference(real).compare(real + 100)
    assert far == Agreement(0, 0, 0, 0)


def test_a_collapsed_generator_is_precise_without_recall() -> None:
    real, _ = sets()
    generator = torch.Generator().manual_seed(1)
    spread = torch.randn(250, 6, generator=generator, dtype=torch.float64)
    collapsed = real.mean(dim=0) + 0.01 * spread
    found = NeighbourReference(real).compare(collapsed)
    assert found.precision == 1
    assert found.recall == 0
    assert found.coverage < 0.1


def test_memorisation_is_half_for_fresh_samples_and_one_for_copies() -> None:
    generator = torch.Generator().manual_seed(2)
    train, held_out, fresh = torch.randn(3, 2000, 4, generator=generator).double()
    # Mann-Whitney of equal laws: standard deviation sqrt((2 n + 1) / (12 n²)) = 0.009.
    real = nearest(held_out, train)
    assert memorisation(nearest(fresh, train), real) == pytest.approx(0.5, abs=0.04)
    assert memorisation(nearest(train[:500], train), real) == 1
    assert memorisation(nearest(held_out + 10, train), real) < 0.01
    mixed = torch.cat([train[:1000], fresh[:1000]])
    assert memorisation(nearest(mixed, train), real) == pytest.approx(0.75, abs=0.04)
    assert memorisation(torch.zeros(3), torch.zeros(5)) == 0.5  # ties


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_samples_are_an_error(count: int) -> None:
    real, generated = sets()
    with pytest.raises(ValueError, match="n > "):
        NeighbourReference(real[:count])
    with pytest.raises(ValueError, match="n > 3"):
        NeighbourReference(real).compare(generated[:count])
    with pytest.raises(ValueError, match="n > 4"):
        radii(real[:4], 4)


def test_values_that_are_not_finite_are_an_error() -> None:
    real, generated = sets()
    generated[3, 2] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        NeighbourReference(real).compare(generated)
