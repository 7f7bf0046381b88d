"""Looks at every asset that the tasks of a suite need, and fetches those that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmark import registry
from benchmark.suite import Suite
from tasks.assets.asset import Asset


@dataclass(frozen=True)
class Finding:
    """How it stands with one asset."""

    asset: Asset
    tasks: list[str]
    """The tasks of the suite that use it."""
    problem: str | None
    """What is missing or wrong and what to do, in one line."""

    @property
    def state(self) -> str:
        if self.asset.place is None:
            return "left out"
        return "not ready" if self.problem else "whole"

    @property
    def line(self) -> str:
        """Asset, place and problem."""
        name, problem = self.asset.name, self.problem or ""
        return f"{name}, in {self.asset.place}: {problem.removeprefix(f'{name}: ')}"


def prepare(suite: Suite, fetch: bool) -> Iterator[Finding]:
    """Look at the assets of `suite`, one after another; with `fetch`, first get what lacks."""
    for asset, tasks in needed(suite):
        problem = asset.check()
        if problem and fetch:
            problem = _fetched(asset)
        yield Finding(asset, tasks, problem)


def needed(suite: Suite) -> list[tuple[Asset, list[str]]]:
    """The assets of `suite` in the order to fetch them, with the tasks that use each."""
    users: dict[str, tuple[Asset, list[str]]] = {}
    for entry in suite.tasks:
        for asset in registry.task(entry.name).assets():
            users.setdefault(asset.name, (asset, []))[1].append(entry.name)
    return list(users.values())


def unavailable(suite: Suite) -> list[str]:
    """The tasks of `suite` that cannot run here, with the reason, in one line each."""
    reasons = {entry.name: registry.task(entry.name).unavailable() for entry in suite.tasks}
    return [f"{name} cannot run here: {reason}" for name, reason in reasons.items() if reason]


def _fetched(asset: Asset) -> str | None:
    try:
        asset.fetch()
    except Exception as error:  # libraries raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return f"fetching it failed ({reason}); by hand: {asset.remedy}"
    return asset.check()
