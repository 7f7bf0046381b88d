"""Gaussian-process search by Optuna."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.optuna_base import OptunaSearch
from tasks.space import Space

if TYPE_CHECKING:
    import optuna


class OptunaGP(OptunaSearch):
    """Bayesian search with a Gaussian process and expected improvement (Optuna).

    The first trial is the default and four more are random; else Optuna's settings.
    """

    name = "optuna-gp"
    group = "model-based"
    citation = "Akiba et al., KDD 2019"
    libraries = ("optuna", "scipy.optimize", "torch")

    def sampler(self, space: Space, seed: int) -> optuna.samplers.BaseSampler:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, n_startup_trials=5)
