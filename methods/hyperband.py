"""Successive halving at several levels of patience."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.successive_halving import SuccessiveHalving

if TYPE_CHECKING:
    import optuna


class Hyperband(SuccessiveHalving):
    """Hyperband over random draws (Optuna's pruner).

    Trials are dealt out to brackets that prune from the first, the second, ... rung on, in
    shares that give each bracket about the same budget.
    """

    name = "hyperband"
    group = "multi-fidelity"
    citation = "Li et al., JMLR 2018; Akiba et al., KDD 2019"

    def pruner(self) -> optuna.pruners.BasePruner:
        from optuna.pruners import HyperbandPruner

        return HyperbandPruner(1, self.rungs[-1], self.reduction)
