"""A search of the training schedule whose last share tunes what `bilevel` would tune.

The ingredients of `bilevel`'s last phase, offered to a search: a share of the budget goes to
trials, the rest to one network trained under the best schedule found, and to its last phase.
"""

from __future__ import annotations

from methods.base import Method, Problem
from methods.bilevel import schedule
from methods.sampling_search import LIBRARIES, named_search, train_and_search
from tasks.base import Task

TUNINGS = ("sampling", "joint")


class SearchThenTune(Method):
    """A search, then training at its best schedule with a last phase of tuning.

    `search` names the search, run with trials of `fidelity`; the last `finish` share of the
    budget trains and tunes, `tuning` being "joint" (the last phase of `bilevel`: weights and
    sampling schedule by gradients) or "sampling" (random search of the sampling schedule).
    """

    name = "search-then-tune"
    group = "staged"
    citation = "Xiao et al., ICML 2025, arXiv:2502.08808; Yang et al., 2026, arXiv:2604.28190"
    uses = "scores; gradients of the loss and of FID if tuning is joint"
    libraries = LIBRARIES

    def __init__(
        self,
        search: str = "random",
        fidelity: float = 0.5,
        finish: float = 0.6,
        tuning: str = "joint",
    ) -> None:
        self.search = named_search(search)(fidelity=fidelity)
        if not 0 < finish < 1:
            raise ValueError(f"finish must be in (0, 1), got {finish}")
        if tuning not in TUNINGS:
            raise ValueError(f"tuning must be one of {', '.join(TUNINGS)}, got {tuning!r}")
        self.finish, self.tuning = finish, tuning

    @classmethod
    def supports(cls, task: type[Task]) -> bool:
        return task.family == "schedule"

    def run(self, problem: Problem) -> None:
        self.search.search(problem, 1 - self.finish)
        best = problem.incumbent or problem.space.default
        if self.tuning == "joint":
            options = schedule.Options(learn_training="", learn_sampling=False, tail=0.4)
            schedule.run(problem, options, best)
        else:
            train_and_search(problem, best, named_search("random")(), share=0.15)
