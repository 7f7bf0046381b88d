"""Where results come from: devices, versions, commits, and the commands that make them again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.analysis import words
from benchmark.display import columns
from benchmark.display.table import Block, Table
from benchmark.study.model import Study

Description = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """Runs that share device, versions, commit and clock."""

    runs: int
    facts: Sequence[tuple[str, str]]
    commands: Sequence[tuple[str, int]]
    """Exact commands that started them, each with its number of runs."""


def settings(study: Study) -> list[Setting]:
    """From the runs' own records; empty if they are not there."""
    groups: dict[str, list[Description]] = {}
    for description in study.descriptions:
        groups.setdefault(json.dumps(_facts(description)), []).append(description)
    return [
        Setting(
            runs=len(members),
            facts=_facts(members[0]),
            commands=Counter(_command(member) for member in members).most_common(),
        )
        for members in groups.values()
    ]


def runs(study: Study) -> Table:
    """How the runs of every method on every task ended, with the reasons of failures."""
    records = []
    for (task, method), rows in study.runs.groupby(["task", "method"], sort=False):
        failed = rows[rows["status"] == "failed"].to_dict("records")
        states = [words.tally(rows["status"])]
        states += [f"seed {row['seed']}: {row['reason']}" for row in failed]
        seeds = ", ".join(map(str, sorted(rows["seed"])))
        records.append({"task": task, "method": method, "seeds": seeds, "runs": ", ".join(states)})
    titles = ("task", "method", "seeds", "runs")
    block = Block("all tasks", [columns.text(title) for title in titles], records)
    return Table("runs", "All runs", "How they ended.", pd.DataFrame(records), [block])


def _command(description: Description) -> str:
    return str(description["provenance"].get("command", ""))


def _facts(description: Description) -> list[tuple[str, str]]:
    origin = description["provenance"]
    git = origin.get("git")
    commit = "not from a checkout"
    if git:
        commit = git["commit"] + (", with changes that are not committed" if git["dirty"] else "")
    versions = [f"{name} {number}" for name, number in origin["versions"].items() if number]
    return [
        ("device", origin["device"]),
        ("clock", description["spec"]["clock"]),
        ("commit", commit),
        ("versions", ", ".join([f"Python {origin['python']}", *versions])),
        ("platform", origin["platform"]),
    ]
