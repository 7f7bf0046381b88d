"""The Inception score against closed forms and an independent implementation."""

from __future__ import annotations

import math

import pytest
import torch

from tasks.metrics.inception_score import inception_score


def test_certain_and_even_classes_score_their_number() -> None:
    logits = 200 * torch.eye(5).repeat(40, 1)
    assert inception_score(logits, splits=10) == pytest.approx(5, rel=1e-6)


def test_what_says_nothing_scores_one() -> None:
    assert inception_score(torch.randn(1, 7).repeat(30, 1)) == pytest.approx(1, abs=1e-6)


def test_two_classes_in_closed_form() -> None:
    """Half the images with p = (a, 1 - a), half the other way round: log 2 less the entropy."""
    a = 0.8
    row = torch.tensor([a, 1 - a]).log()
    logits = torch.stack([row, row.flip(0)]).repeat(10, 1)
    entropy = -(a * math.log(a) + (1 - a) * math.log(1 - a))
    assert inception_score(logits, splits=2) == pytest.approx(math.exp(math.log(2) - entropy))


def test_agrees_with_the_definition_in_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(43, 6, generator=generator, dtype=torch.float64)
    scores = []
    for part in torch.tensor_split(logits.softmax(dim=1), 4):
        marginal = part.mean(dim=0)
        divergences = [
            sum(p * math.log(p / m) for p, m in zip(row, marginal.tolist(), strict=True))
            for row in part.tolist()
        ]
        scores.append(math.exp(sum(divergences) / len(part)))
    assert inception_score(logits, splits=4) == pytest.approx(sum(scores) / 4)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="n >= 10"):
        inception_score(torch.zeros(9, 3))
    with pytest.raises(ValueError, match="not finite"):
        inception_score(torch.full((10, 3), math.nan))
