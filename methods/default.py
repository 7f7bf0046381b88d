"""The plainest competitor: tune nothing."""

from methods.base import Method, Problem


class Default(Method):
    """The space's initial point, trained or sampled for the whole budget."""

    name = "default"
    group = "fixed"
    citation = "-"
    uses = "nothing"

    def run(self, problem: Problem) -> None:
        problem.develop(problem.space.default)
