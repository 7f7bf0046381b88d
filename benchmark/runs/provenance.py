"""What a run says of itself: its task, its method, and where and with what it ran."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from methods.base import GROUPS, Method
from tasks.base import Task

VERSIONED = (
    "diffusion-tuning-benchmark", "torch", "diffusers", "optuna", "scikit-optimize", "numpy",
    "scipy", "pandas", "scikit-learn", "clean-fid",
)  # fmt: skip


def describe_task(task: Task) -> dict[str, Any]:
    """What tables and figures need to know of a task; its evaluator is added after setup."""
    return {
        "description": task.description,
        "family": task.family,
        "citation": task.citation,
        "metrics": [asdict(metric) for metric in task.metrics],
        "variables": [asdict(variable) for variable in task.space.variables],
        "references": task.references(),
        "evaluator": {},
    }


def describe_method(method: Method | type[Method]) -> dict[str, Any]:
    """What tables and lists show of a method."""
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
    """Where and with what a run is executed."""
    return {
        "device": device_name(device),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in VERSIONED},
        "git": _git_state(),
        "command": shlex.join(["python", "-m", "benchmark", *sys.argv[1:]]),
    }


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


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


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
