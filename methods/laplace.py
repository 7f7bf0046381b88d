"""Laplace training levels with EDM's sampling levels, untuned."""

from __future__ import annotations

from methods.base import Problem
from methods.edm import EDM
from tasks.schedule.plans import KARRAS, LAPLACE


class Laplace(EDM):
    """Laplace-distributed log signal-to-noise ratios and EDM's sampling levels, for the whole
    budget: the default of most tasks, here also where the default is another."""

    name = "laplace"
    citation = "Hang et al., 2024, arXiv:2407.03297; Karras et al., NeurIPS 2022, arXiv:2206.00364"

    def run(self, problem: Problem) -> None:
        problem.develop(LAPLACE | KARRAS)
