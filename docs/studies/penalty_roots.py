"""Where the penalty gradient and the released estimator vanish, on Gaussians, as Markdown.

    python docs/studies/penalty_roots.py

Data N(0, 1), rewards linear or quadratic, expectations by quadrature: the numbers are exact to
the digits shown. `tests/tasks/test_finetune_estimators.py` holds the same table to 1e-3.
"""

from collections.abc import Callable

import torch
from scipy.optimize import brentq
from torch import Tensor

from tasks.finetune.estimators import covariance, penalty_gradient, published_gradient
from tasks.finetune.importance import log_weights

X = torch.linspace(-14, 14, 20_001, dtype=torch.float64)
BASE = torch.log_softmax(-(X**2) / 2, dim=0)
GAMMAS = (1.0, 10.0, 100.0, 1000.0)
CASES = {
    "r2 = x, r1 = -(x - 1.5)² / 2": (X, -((X - 1.5) ** 2) / 2),
    "r2 = -(x - 3)² / 2, r1 = -(x - 1.5)² / 2": (-((X - 3) ** 2) / 2, -((X - 1.5) ** 2) / 2),
    "r2 = -(x - 6)² / 2, r1 = -(x - 1)² / 2": (-((X - 6) ** 2) / 2, -((X - 1) ** 2) / 2),
}


def root(slope: Callable[[float], Tensor]) -> str:
    """The root of `slope` in [0.2, 20], or a dash."""
    low, high = float(slope(0.2)), float(slope(20.0))
    return f"{brentq(slope, 0.2, 20.0, xtol=1e-7):.4f}" if low * high < 0 else "none"


def row(lower: Tensor, upper: Tensor) -> list[str]:
    """Roots of the exact gradient, of the penalty gradient, and of the released estimator."""
    exact = root(lambda s: covariance(upper, lower, log_weights(lower / s, BASE)))
    penalty = [root(lambda s, g=g: penalty_gradient(upper, lower, s, g, BASE)) for g in GAMMAS]
    published = root(lambda s: published_gradient(upper, lower, s, GAMMAS[-1], BASE))
    return [exact, *penalty, published]


if __name__ == "__main__":
    header = ["", "exact", *(f"gamma = {gamma:g}" for gamma in GAMMAS), "est1, gamma = 1000"]
    print("| " + " | ".join(header) + " |")
    print("|---" * len(header) + "|")
    for name, rewards in CASES.items():
        print("| " + " | ".join([name, *row(*rewards)]) + " |")
