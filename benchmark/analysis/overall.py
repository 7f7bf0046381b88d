"""Who wins where, in a few sentences over all tasks of a suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmark.analysis.verdict import TaskVerdict, names


def sentences(found: Sequence[TaskVerdict]) -> list[str]:
    """The sentences; what they say of a task follows from its verdict alone."""
    said = []
    for leader in dict.fromkeys(verdict.leader for verdict in found):
        own = [verdict for verdict in found if verdict.leader == leader]
        said += list(_of_leader(leader, own, len(found)))
    for name in dict.fromkeys(name for verdict in found for name in verdict.unranked_ahead):
        where = [verdict.task for verdict in found if name in verdict.unranked_ahead]
        said.append(f"{name}, which is not ranked, has a better mean on {names(where)}.")
    if any(verdict.unfinished for verdict in found):
        said.append("Not all runs are there and finished, so this may change.")
    return said


def _of_leader(leader: str | None, own: Sequence[TaskVerdict], tasks: int) -> Iterator[str]:
    """What can be said of the tasks where `leader` has the best mean."""

    def where(chosen: Sequence[TaskVerdict]) -> str:
        everywhere = len(chosen) == tasks > 1
        return f"all {tasks} tasks" if everywhere else names([v.task for v in chosen])

    if leader is None:
        yield f"Nothing has been delivered yet on {where(own)}."
        return
    won = [v for v in own if v.beaten == v.others > 0]
    led = [v for v in own if 0 < v.beaten < v.others]
    unclear = [v for v in own if not v.beaten and v.others]
    alone = [v for v in own if not v.others]
    if won:
        yield f"{leader} wins on {where(won)}: it is shown to be better than every other method."
    if led:
        yield (
            f"{leader} leads on {where(led)}: it has the best mean, and is shown to be better "
            "than some of the other methods, not than all."
        )
    if unclear:
        yield (
            f"No method is shown to win on {where(unclear)}, where {leader} has the best mean and "
            "is not shown to be better than any other."
        )
    if alone:
        yield f"Only {leader} has results on {where(alone)}."
