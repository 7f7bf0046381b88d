"""Where results come from: devices, versions, commits, and the commands that make them again."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.display.table import Block, Cell, Column, Table
from benchmark.study.model import Study

Description = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """Runs that share device, versions, commit and clock."""

    runs: int
    facts: Sequence[tuple[str, str]]
    install: str
    """Commands that install the code that ran; empty where it was in no commit."""
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
            install=_install(members[0]["provenance"].get("git")),
            commands=Counter(_command(member) for member in members).most_common(),
        )
        for members in groups.values()
    ]


def runs(study: Study) -> Table:
    """The runs of every method on every task, and the command that makes them and no others."""
    known: dict[tuple[str, str], list[Description]] = {}
    for description in study.descriptions:
        spec = description["spec"]
        known.setdefault((spec["task"], spec["label"]), []).append(description)
    records = []
    for key, rows in study.runs.groupby(["task", "method"], sort=False):
        task, method = map(str, key)
        described = known.get((task, method), [])
        states = [f"{n} {state}" for state, n in rows["status"].value_counts().items()]
        failed = rows[rows["status"] == "failed"]
        why = [f"seed {row['seed']}: {row['reason']}" for row in failed.to_dict("records")]
        records.append(
            {
                "task": task, "method": method, "seeds": _ranges(sorted(map(int, rows["seed"]))),
                "runs": ", ".join([*states, *why]),
                "space": ", ".join(sorted({d.get("space_hash", "-") for d in described})),
                "command": narrowed(_command(described[-1]), task, method) if described else "",
            }
        )  # fmt: skip
    columns = [Column(name) for name in ("task", "method", "seeds", "runs", "space", "command")]
    cells = [[Cell(str(record[column.title])) for column in columns] for record in records]
    caption = "Space: a hash, the same where methods search the same space."
    title = "Every run, and the command that makes it again"
    block = Block("all tasks", columns, cells)
    return Table("runs", title, caption, pd.DataFrame(records), [block])


def narrowed(command: str, task: str, method: str) -> str:
    """A command for `--all` of a suite, for this part of it; any other one as it is."""
    try:
        words = shlex.split(command)
    except ValueError:  # of a shell's, with a quote that this one does not know
        return command
    if "--all" not in words:
        return command
    at = words.index("--all")
    chosen = ["--task", task, "--method", method]
    return shlex.join([*words[:at], *chosen, *words[at + 1 :]])


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


def _install(git: dict[str, Any] | None) -> str:
    if not git or git["dirty"]:
        return ""
    return f"git checkout {git['commit']}\npip install -c constraints.txt ."


def _ranges(seeds: Sequence[int]) -> str:
    """`0-2, 5`: consecutive numbers as ranges."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
