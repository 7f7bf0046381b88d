"""The Fréchet distance against closed forms, clean-fid and finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.assets import networks
from tasks.data import datasets
from tasks.diffusion.torchvision_shim import ensure
from tasks.metrics import frechet
from tasks.metrics.features import DIMENSIONS, feature_net, weights_name
from tasks.metrics.frechet import FrechetReference, Moments, frechet_distance
from tasks.metrics.training import accuracy


def features(n: int, d: int, seed: int, rank: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((n, rank or d), generator=generator, dtype=torch.float64)
    mixing = torch.randn((rank or d, d), generator=generator, dtype=torch.float64)
    return x @ mixing + torch.randn(d, generator=generator, dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # in clean-fid
@given(seed=st.integers(0, 2**31), d=st.integers(2, 12))
@settings(max_examples=25, deadline=None)
def test_equals_clean_fid_on_full_rank_data(seed: int, d: int) -> None:
    ensure()
    from cleanfid.fid import frechet_distance as clean_fid

    a, b = features(4 * d + 20, d, seed), features(4 * d + 30, d, seed + 1)
    statistics = [(x.mean(0), x.T.cov()) for x in (a, b)]
    expected = clean_fid(*(s.numpy() for pair in statistics for s in pair))
    assert float(FrechetReference(b).distance(a)) == pytest.approx(expected, rel=1e-6)
    assert float(frechet_distance(*statistics[0], *statistics[1])) == pytest.approx(
        expected, rel=1e-6
    )


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # in clean-fid
@pytest.mark.parametrize("n", [700, 2000])
def test_equals_clean_fid_at_a_moderate_size(n: int) -> None:
    ensure()
    from cleanfid.fid import frechet_distance as clean_fid

    d = 256
    a, b = features(n, d, 0), features(1000, d, 1)
    statistics = [(x.mean(0), x.T.cov()) for x in (a, b)]
    expected = clean_fid(*(s.numpy() for pair in statistics for s in pair))
    assert float(FrechetReference(b).distance(a)) == pytest.approx(expected, rel=1e-6)
    assert float(frechet_distance(*statistics[0], *statistics[1])) == pytest.approx(
        expected, rel=1e-6
    )


def test_commuting_covariances_have_a_closed_form() -> None:
    mean = torch.tensor([1.0, -2.0, 0.0])
    ours = frechet_distance(
        mean,
        torch.diag(torch.tensor([4.0, 1.0, 0.0])),
        0 * mean,
        torch.diag(torch.tensor([1.0, 9, 1])),
    )
    assert float(ours) == pytest.approx(5 + 1 + 4 + 1, rel=1e-12)


@pytest.mark.parametrize("n", [2, 5, 12, 13, 40])
@pytest.mark.parametrize("reference", [2, 8, 12, 13, 50])
def test_low_rank_and_full_forms_agree_with_the_statistics(n: int, reference: int) -> None:
    x, y = features(n, 12, 0), features(reference, 12, 1)
    expected = frechet_distance(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())
    known = FrechetReference.from_statistics(y.mean(0), y.T.cov())
    for ours in (FrechetReference(y).distance(x), known.distance(x)):
        assert ours.dtype == torch.float64
        assert float(ours) == pytest.approx(float(expected), rel=1e-7)


@pytest.mark.parametrize(("n", "reference"), [(300, 700), (700, 300), (700, 650), (300, 500)])
def test_wide_features_agree_with_singular_values(n: int, reference: int) -> None:
    d = 600
    assert d > 2 * frechet.BLOCK
    x, y = features(n, d, 0), features(reference, d, 1)
    a, b = ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x, y))
    expected = (x.mean(0) - y.mean(0)).square().sum() + a.square().sum() + b.square().sum()
    expected -= 2 * torch.linalg.svdvals(a @ b.T).sum()
    assert float(FrechetReference(y).distance(x)) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("n", [550, 650])
def test_gradient_through_blocks_equals_the_undivided_product(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = FrechetReference(features(700, 600, 0))
    gradients = []
    for block in (frechet.BLOCK, 10_000):
        monkeypatch.setattr(frechet, "BLOCK", block)
        x = features(n, 600, 1).requires_grad_()
        reference.distance(x).backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


def test_singular_covariances_are_exact() -> None:
    base = features(60, 4, 3)
    padded = torch.cat([base, base[:, :2], torch.zeros(60, 3, dtype=torch.float64)], dim=1)
    assert float(FrechetReference(padded).distance(padded)) == pytest.approx(0, abs=1e-6)
    shifted = FrechetReference(padded).distance(padded + 1)
    assert float(shifted) == pytest.approx(9, abs=1e-6)


def test_constant_features_reduce_to_the_means() -> None:
    reference = FrechetReference(torch.ones(5, 3))
    assert float(reference.distance(torch.zeros(7, 3))) == pytest.approx(3)


@pytest.mark.parametrize("n", [6, 40])
@pytest.mark.parametrize("samples", [7, 50])
def test_gradient_equals_finite_differences(n: int, samples: int) -> None:
    reference = FrechetReference(features(samples, 8, 0))
    x = features(n, 8, 1).requires_grad_()
    assert torch.autograd.gradcheck(reference.distance, (x,), eps=1e-6, atol=1e-5)


def test_gradient_is_finite_on_duplicated_columns() -> None:
    reference = FrechetReference(features(50, 8, 0, rank=3))
    x = features(40, 8, 1, rank=2).requires_grad_()
    reference.distance(x).backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() < 10


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(1, 3), "n >= 2"),
        (torch.zeros(3), "n >= 2"),
        (torch.tensor([[0.0, float("nan")], [1, 2]]), "finite"),
        (torch.tensor([[0.0, float("inf")], [1, 2]]), "finite"),
        (torch.tensor([[0.0, float("inf")], [1, -float("inf")]]), "finite"),
    ],
)
def test_unusable_features_are_refused(bad: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrechetReference(bad)
    with pytest.raises(ValueError, match=message):
        FrechetReference(torch.randn(4, 2)).distance(bad)


@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize("dataset", ["digits", "mnist14", "mnist28"])
def test_shipped_networks_recognise_held_out_images(dataset: str, which: str) -> None:
    net, split = feature_net(dataset, which), datasets.load(dataset).report
    assert accuracy(net, split) > 0.95
    assert net(split.images[:3]).shape == (3, DIMENSIONS[dataset])
    assert networks.path(weights_name(dataset, which)).stat().st_size < 300_000
    assert not any(p.requires_grad for p in net.parameters())


def test_distance_tells_good_images_from_noise() -> None:
    splits = datasets.load("digits")
    for which in ("first", "second"):
        net = feature_net("digits", which)
        reference = FrechetReference(net(splits.report.images))
        real = reference.distance(net(splits.train.images))
        blurred = reference.distance(net(0.9 * splits.train.images))
        assert 0 < real < blurred


def test_moments_of_many_batches_are_those_of_all() -> None:
    """With a decay that weighs k batches alike, the distance is that of the whole sample."""
    generator = torch.Generator().manual_seed(0)
    reference = FrechetReference(torch.randn(400, 5, generator=generator))
    batches = [torch.randn(50, 5, generator=generator).double() * 1.5 + 1 for _ in range(4)]
    moments = Moments(0.0)
    for k, batch in enumerate(batches):
        moments.decay = k / (k + 1)
        mean, covariance = moments.update(batch)
    whole = torch.cat(batches)
    torch.testing.assert_close(mean, whole.mean(0))
    torch.testing.assert_close(covariance, torch.cov(whole.T, correction=0))
    expected = frechet_distance(
        mean, covariance, reference.mean, reference.factor @ reference.factor.T
    )
    torch.testing.assert_close(reference.distance_to(mean, covariance), expected)


def test_gradient_through_moments_is_the_first_variation() -> None:
    """Mixing a share h of a batch into a law changes its distance by h times the mean, over the
    batch, of a function whose gradient is the one given (against finite differences)."""
    generator = torch.Generator().manual_seed(1)
    reference = FrechetReference(torch.randn(400, 4, generator=generator))
    law = torch.randn(300, 4, generator=generator).double() * 1.3 + 0.5
    batch = torch.randn(20, 4, generator=generator).double()
    direction = torch.randn(20, 4, generator=generator).double()

    def potential(features: torch.Tensor) -> float:
        """Derivative of the distance in the share of a batch that is mixed in, at zero."""
        h = 1e-5
        values = []
        for share in (h, -h):
            first = (1 - share) * law.mean(0) + share * features.mean(0)
            second = (1 - share) * law.T @ law / 300 + share * features.T @ features / 20
            values.append(float(reference.distance_to(first, second - torch.outer(first, first))))
        return (values[0] - values[1]) / (2 * h)

    numeric = (potential(batch + 1e-3 * direction) - potential(batch - 1e-3 * direction)) / 2e-3
    moments = Moments(1 - 1e-9, law.mean(0), law.T @ law / 300)
    moving = batch.clone().requires_grad_()
    reference.distance_to(*moments.update(moving)).backward()
    assert moving.grad is not None
    assert float((moving.grad * direction).sum()) == pytest.approx(numeric, rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_equal_sets_are_at_no_distance(seed: int) -> None:
    x = torch.randn(50, 16, generator=torch.Generator().manual_seed(seed))
    assert FrechetReference(x).distance(x).item() == 0.0
    moments = x.double().mean(dim=0), torch.cov(x.double().T)
    assert frechet_distance(*moments, *moments).item() == 0.0
    moved = frechet_distance(*moments, moments[0] + 1e-6, moments[1]).item()
    assert moved == pytest.approx(16e-12, rel=0.02)
