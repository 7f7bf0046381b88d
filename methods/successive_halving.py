"""Multi-fidelity search with continued training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.base import Method, Problem
from methods.optuna_base import distributions, new_study
from tasks.base import Task

if TYPE_CHECKING:
    import optuna


class SuccessiveHalving(Method):
    """Asynchronous successive halving over random draws (Optuna's pruner).

    The first trial is the default. A trial is trained on from rung to rung and abandoned where it
    ranks below the best `1 / reduction` of what reached that rung.
    """

    name = "successive-halving"
    group = "multi-fidelity"
    citation = "Jamieson & Talwalkar, AISTATS 2016; Li et al., MLSys 2020"
    uses = "scores of unfinished trials"
    libraries = ("optuna",)

    def __init__(self, reduction: int = 3, rungs: int = 3, longest: float = 1.0) -> None:
        if reduction < 2 or rungs < 1 or not longest > 0:
            raise ValueError(f"need reduction >= 2, rungs >= 1, longest > 0, got {reduction}, "
                             f"{rungs}, {longest}")  # fmt: skip
        self.reduction = reduction
        self.rungs = [reduction**rung for rung in range(rungs)]
        self.fidelities = [longest * rung / self.rungs[-1] for rung in self.rungs]

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.fidelities

    def pruner(self) -> optuna.pruners.BasePruner:
        """Decides at each rung whether a trial goes on."""
        from optuna.pruners import SuccessiveHalvingPruner

        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=self.reduction)

    def run(self, problem: Problem) -> None:
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState

        sampler = RandomSampler(seed=int(problem.rng.integers(2**31)))
        study = new_study(sampler, self.pruner())
        study.enqueue_trial(problem.space.default)
        while True:
            trial = study.ask(distributions(problem.space))
            pruned = False
            for rung, score in zip(
                self.rungs, problem.stages(trial.params, self.fidelities), strict=False
            ):
                trial.report(score, rung)
                pruned = trial.should_prune()
                if pruned:
                    break
            study.tell(trial, None if pruned else score,
                       TrialState.PRUNED if pruned else TrialState.COMPLETE)  # fmt: skip
