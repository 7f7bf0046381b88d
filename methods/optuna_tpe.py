"""Tree-structured Parzen estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.optuna_base import OptunaSearch
from tasks.space import Space

if TYPE_CHECKING:
    import optuna


class OptunaTPE(OptunaSearch):
    """Bayesian search with a multivariate tree-structured Parzen estimator (Optuna).

    The first trial is the default and four more are random; else Optuna's settings.
    """

    name = "optuna-tpe"
    group = "model-based"
    citation = "Bergstra et al., NeurIPS 2011; Akiba et al., KDD 2019"
    libraries = ("optuna",)

    def sampler(self, space: Space, seed: int) -> optuna.samplers.BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, multivariate=True, n_startup_trials=5)
