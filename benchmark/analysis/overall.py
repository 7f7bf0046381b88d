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
        everywhere = {2: "both tasks"}.get(tasks, f"all {tasks} tasks")
        return everywhere if len(chosen) == tasks > 1 else names([v.task for v in chosen])

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
        first = f"{led[0].task} (better than {led[0].beaten} of {led[0].others} other methods)"
        more = [f"{v.task} ({v.beaten} of {v.others})" for v in led[1:]]
        yield (
            f"{leader} leads, with the best mean but not shown to be better than all, on "
            f"{names([first, *more])}."
        )
    if unclear:
        yield (
            f"On {where(unclear)} no method is shown to win: {leader} has the best mean and is not "
            "shown to be better than any other."
        )
    if alone:
        yield f"Only {leader} has results on {where(alone)}."
