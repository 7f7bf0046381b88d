"""Provenance of a run: its task, its method, and the machine, versions and code it ran with."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmark.runs.description import SCHEMA_VERSION
from benchmark.runs.journal import Journal
from benchmark.runs.spec import RunSpec, require_same
from methods.base import GROUPS, Method
from tasks.base import Task

VERSIONED = (
    "diffusion-tuning-benchmark", "torch", "diffusers", "optuna", "scikit-optimize", "numpy",
    "scipy", "pandas", "scikit-learn", "clean-fid",
)  # fmt: skip


def describe_run(spec: RunSpec, journal: Journal, task: Task, method: type[Method]) -> None:
    """Write `run.json`: the run, its task and method, and its machine, versions and code.

    Raises SpecMismatch if an earlier session had another space or, where time is measured, device.
    """
    stored = journal.description
    if stored is not None:
        known = {"space": (stored["space_hash"], task.space.hash)}
        if spec.clock == "device":
            known["device"] = (stored["provenance"]["device"], device_name(spec.device))
        require_same(spec.folder.path, known)
        if journal.budget >= spec.budget:
            return
    described: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "spec": asdict(spec),
        "space_hash": task.space.hash,
        "task": describe_task(task),
        "method": describe_method(method) | {"options": spec.options},
        "provenance": provenance(spec.device),
    }
    del described["spec"]["results"]  # folders are moved and given away
    if stored is not None:
        described["spec"]["prices"] = stored["spec"]["prices"]
        described["task"]["evaluator"] = stored["task"]["evaluator"]  # `name_evaluator` compares it
    journal.describe(described)


def name_evaluator(journal: Journal, task: Task) -> None:
    """Add the identity of the metrics to `run.json`; it is known once models are loaded.

    Raises SpecMismatch if an earlier session of the run was evaluated otherwise.
    """
    stored = journal.description
    assert stored is not None
    before, now = stored["task"]["evaluator"], json.loads(json.dumps(task.evaluator()))
    if before:
        require_same(journal.folder.path, {"evaluator": (before, now)})
    elif now:
        stored["task"]["evaluator"] = now
        journal.describe(stored)


def describe_task(task: Task) -> dict[str, Any]:
    """Facts of a task that tables and figures need; its evaluator is added after setup."""
    return {
        "description": task.description,
        "family": task.family,
        "citation": task.citation,
        "metrics": [asdict(metric) for metric in (*task.metrics, *task.final_metrics)],
        "variables": [variable.facts() for variable in task.space.variables],
        "references": task.references(),
        "evaluator": {},
    }


def describe_method(method: Method | type[Method]) -> dict[str, Any]:
    """Facts of a method that tables and lists show."""
    doc = (method.__doc__ or "").strip().splitlines()
    return {
        "name": method.name,
        "description": doc[0] if doc else "",
        "citation": method.citation,
        "uses": method.uses,
        "ranked": method.ranked,
        "group": method.group,
        "colour": method.colour or GROUPS.get(method.group),
        "place": list(GROUPS).index(method.group) if method.group in GROUPS else len(GROUPS),
    }


def provenance(device: str) -> dict[str, Any]:
    """Machine, versions and code of a run."""
    return {
        "device": device_name(device),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in VERSIONED},
        "git": _git_state(),
        "command": command(),
    }


def command() -> str:
    """The command line of this process, as a shell takes it; a notebook's is its kernel's."""
    if is_command():
        return shlex.join(["python", "-m", "benchmark", *sys.argv[1:]])
    return shlex.join(["python", *sys.orig_argv[1:]])


def is_command() -> bool:
    """Whether this process, or the one that started it as a worker, is the command line's."""
    program = Path(sys.argv[0])
    is_module = program.parts[-2:] == ("benchmark", "__main__.py")
    return is_module or program.name in ("benchmark", "diffusion-tuning-benchmark")


def device_name(device: str) -> str:
    """`cpu: MODEL` or `cuda: MODEL`."""
    if device.startswith("cuda"):
        import torch

        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu: {_processor()}"


@cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def installed(name: str) -> str | None:
    """Version of an installed distribution; None where there is none of that name."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def digest(*contents: bytes) -> str:
    """The first 12 hex digits of a hash."""
    return hashlib.sha256(b"".join(contents)).hexdigest()[:12]


@cache
def code(*packages: str) -> str:
    """Hash of the Python files of some of `benchmark`, `methods` and `tasks`."""
    home = Path(__file__).parents[2]
    files = [path for package in packages for path in sorted((home / package).rglob("*.py"))]
    return digest(*(str(path.relative_to(home)).encode() + path.read_bytes() for path in files))


@cache
def _git_state() -> dict[str, Any] | None:
    """Commit and dirtiness of the checkout this code runs from; None for an installed wheel."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip  # the timeout kills, and would leave a lock behind

    try:
        if not git("ls-files", "--", __file__):
            return None
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
