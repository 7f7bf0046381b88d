"""Kernel distance, against clean-fid and cases whose value is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tasks.diffusion.torchvision_shim import ensure
from tasks.metrics import kernel
from tasks.metrics.kernel import KernelReference


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn((n, d), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_kernel_distance_is_clean_fids_of_one_whole_subset() -> None:
    ensure()
    from cleanfid.fid import kernel_distance

    a, b = normal(200, 12, 0), 1.3 * normal(200, 12, 1) + 0.2
    expected = kernel_distance(a.numpy(), b.numpy(), num_subsets=1, max_subset_size=200)
    assert float(KernelReference(b).distance(a)) == pytest.approx(expected, rel=1e-9)


def test_the_kernel_distance_of_one_law_to_itself_is_zero_on_average() -> None:
    values = torch.stack(
        [
            KernelReference(normal(40, 4, 2 * seed)).distance(normal(25, 4, 2 * seed + 1))
            for seed in range(200)
        ]
    )
    error = values.std() / len(values) ** 0.5
    assert values.mean().abs() < 4 * error
    shifted = KernelReference(normal(40, 4, 0)).distance(normal(25, 4, 1) + 1)
    assert shifted > 10 * values.std()


def test_what_cannot_be_measured_is_refused() -> None:
    good = normal(20, 3, 0)
    with pytest.raises(ValueError, match="need features"):
        KernelReference(good[:1])
    with pytest.raises(ValueError, match="need features"):
        KernelReference(good[0])
    with pytest.raises(ValueError, match="not finite"):
        KernelReference(good.where(good < good.max(), torch.nan))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(50, 5, 0), normal(40, 5, 1)
    whole = KernelReference(b).distance(a)
    monkeypatch.setattr(kernel, "ROWS", 7)
    assert KernelReference(b).distance(a) == pytest.approx(float(whole), rel=1e-12)
