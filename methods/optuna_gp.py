"""Gaussian-process search by Optuna."""

from methods.optuna_base import OptunaSearch


class OptunaGP(OptunaSearch):
    """Bayesian search with a Gaussian process and expected improvement (Optuna)."""

    name = "optuna-gp"
    citation = "Akiba et al., KDD 2019"
    libraries = ("optuna", "scipy.optimize", "torch")

    def sampler(self, seed: int):  # type: ignore[no-untyped-def]
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, n_startup_trials=5)
