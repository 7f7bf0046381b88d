"""Where results come from: devices, versions, commits, and the commands that make them again."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Runs:
    """All runs of one method on one task."""

    task: str
    method: str
    seeds: str
    states: str
    problems: Sequence[str]
    """Why runs failed."""
    space: str
    command: str
    """Makes these runs and no others."""


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


def cells(study: Study) -> list[Runs]:
    """One per task and method that has runs."""
    known: dict[tuple[str, str], list[Description]] = {}
    for description in study.descriptions:
        spec = description["spec"]
        known.setdefault((spec["task"], spec["label"]), []).append(description)
    found = []
    for task in study.tasks:
        for method in study.methods:
            rows = study.task(task).runs(method)
            described = known.get((task, method), [])
            if rows.empty:
                continue
            failed = rows[rows["status"] == "failed"]
            found.append(
                Runs(
                    task=task,
                    method=method,
                    seeds=_ranges(sorted(int(seed) for seed in rows["seed"])),
                    states=", ".join(f"{n} {s}" for s, n in rows["status"].value_counts().items()),
                    problems=[
                        f"seed {row['seed']}: {row['reason']}" for row in failed.to_dict("records")
                    ],
                    space=", ".join(sorted({d.get("space_hash", "-") for d in described})),
                    command=narrowed(_command(described[-1]), task, method) if described else "",
                )
            )
    return found


def narrowed(command: str, task: str, method: str) -> str:
    """A command for `--all` of a suite, for this part of it; any other one as it is."""
    words = shlex.split(command)
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
