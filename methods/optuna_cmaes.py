"""Covariance matrix adaptation."""

from methods.optuna_base import OptunaSearch
from tasks.base import Task


class OptunaCMAES(OptunaSearch):
    """Evolution strategy with covariance matrix adaptation (Optuna over cmaes).

    It takes part from two variables on: with one, Optuna's sampler draws at random.
    """

    name = "optuna-cmaes"
    citation = "Hansen & Ostermeier, Evol. Comput. 2001; Akiba et al., KDD 2019"
    libraries = ("optuna", "cmaes")

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return len(task.space) > 1

    def sampler(self, seed: int):  # type: ignore[no-untyped-def]
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
