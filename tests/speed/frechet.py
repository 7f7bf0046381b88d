"""Fréchet distance at 2048 features beside clean-fid's `frechet_distance`, from the same features.

    python -m tests.speed.frechet --json frechet.json

Both sides have the reference's statistics from before and measure newly generated features:
clean-fid takes their mean and covariance (numpy) and the square root of a matrix (SciPy), ours a
product with the cached factor and its eigenvalues. Errors are relative to the distance by singular
values of the triangular factors of both feature matrices, which squares nothing.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.diffusion import torchvision_shim
from tasks.metrics.frechet import FrechetReference
from tests.speed.measure import Row, compare, machine, one_thread, show

DIMENSION = 2048
REFERENCE = 10_000
SIZES = (500, 5000)


def law(seed: int) -> tuple[Tensor, Tensor]:
    """Scales and mixing of correlated features whose spectrum falls off like Inception's."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.arange(1, DIMENSION + 1, dtype=torch.float64) ** -0.5
    mixing = torch.randn(DIMENSION, DIMENSION, generator=generator, dtype=torch.float64)
    return scales, mixing / DIMENSION**0.5


def features(count: int, seed: int, spread: float = 1.0, shift: float = 0.0) -> Tensor:
    """Non-negative correlated features `(count, 2048)`; the same mixing at any seed."""
    scales, mixing = law(0)
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, DIMENSION, generator=generator, dtype=torch.float64)
    return ((spread * normal * scales) @ mixing + 0.1 + shift).relu()


def exact(generated: Tensor, reference: Tensor) -> float:
    """The squared distance by singular values."""
    centred = [x - x.mean(0) for x in (generated, reference)]
    first, second = (torch.linalg.qr(x, mode="r").R / (len(x) - 1) ** 0.5 for x in centred)
    root = torch.linalg.svdvals(first @ second.T).sum()
    mean = (generated.mean(0) - reference.mean(0)).square().sum()
    return float(mean + first.square().sum() + second.square().sum() - 2 * root)


class CleanFid:
    """clean-fid on numpy features, with the reference's statistics kept."""

    def __init__(self, reference: Tensor) -> None:
        torchvision_shim.ensure()
        from cleanfid.fid import frechet_distance

        self.between = frechet_distance
        self.statistics = self.moments(reference.numpy())

    @staticmethod
    def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return values.mean(axis=0), np.cov(values, rowvar=False)

    def distance(self, generated: Tensor) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return float(self.between(*self.moments(generated.numpy()), *self.statistics))


def row(
    count: int, ours: FrechetReference, theirs: CleanFid, repetitions: int, truth: Tensor
) -> Any:
    """Seconds and differences for `count` generated features."""
    generated = features(count, seed=count, spread=1.2, shift=0.02)
    found: dict[str, float] = {}
    pair = Row(
        lambda: found.update(ours=float(ours.distance(generated))),
        lambda: found.update(theirs=theirs.distance(generated)),
    )
    (measured,) = compare({f"{count} generated features": pair}, repetitions)
    expected = exact(generated, truth)
    return measured | {
        "distance": expected,
        "ours_error": found["ours"] / expected - 1,
        "theirs_error": found["theirs"] / expected - 1,
        "difference": found["ours"] / found["theirs"] - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="where to write the measurements")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    one_thread()
    reference = features(REFERENCE, seed=1)
    ours, theirs = FrechetReference(reference), CleanFid(reference)
    rows = [row(count, ours, theirs, arguments.repetitions, reference) for count in SIZES]
    report = {
        "dimension": DIMENSION,
        "reference": REFERENCE,
        "machine": machine(dtype=torch.float64),
        "rows": rows,
    }
    show(rows, "distances")
    for entry in rows:
        print(
            {k: f"{entry[k]:.2g}" for k in ("distance", "ours_error", "theirs_error", "difference")}
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
