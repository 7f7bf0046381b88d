"""Importance weights: closed forms on Gaussians, and bounds that always hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tasks.finetune import importance


def standard_normal() -> tuple[Tensor, Tensor]:
    """A fine grid and the normalised log density of N(0, 1) on it: expectations by quadrature."""
    x = torch.linspace(-12, 14, 20001, dtype=torch.float64)
    return x, torch.log_softmax(-(x**2) / 2, dim=0)


def test_divergence_of_a_linear_tilt_is_half_the_squared_shift() -> None:
    x, base = standard_normal()
    assert importance.tilt_divergence(x / 0.5, base).item() == pytest.approx(2.0, rel=1e-9)
    assert importance.log_partition(x / 0.5, base).item() == pytest.approx(2.0, rel=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(-500, 500), min_size=1, max_size=30), st.floats(-300, 300))
def test_weights_are_normalised_and_ignore_a_common_shift(
    scores: list[float], shift: float
) -> None:
    values = torch.tensor(scores, dtype=torch.float64)
    log_weights = importance.log_weights(values)
    assert log_weights.exp().sum().item() == pytest.approx(1)
    torch.testing.assert_close(importance.log_weights(values + shift), log_weights)
    size = importance.effective_sample_size(log_weights).item()
    assert 1 - 1e-9 <= size <= len(scores) * (1 + 1e-9)
    assert importance.tilt_divergence(values).item() >= -1e-9
