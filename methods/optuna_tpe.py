"""Tree-structured Parzen estimator."""

from methods.optuna_base import OptunaSearch


class OptunaTPE(OptunaSearch):
    """Bayesian search with a multivariate tree-structured Parzen estimator (Optuna)."""

    name = "optuna-tpe"
    citation = "Bergstra et al., NeurIPS 2011; Akiba et al., KDD 2019"
    libraries = ("optuna",)

    def sampler(self, seed: int):  # type: ignore[no-untyped-def]
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, multivariate=True, n_startup_trials=5)
