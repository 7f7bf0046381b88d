"""The versions that `tox -e lowest` installs are the lower bounds that the package states."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_lowest_versions_are_those_of_the_package() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())
    bounds = dict(
        re.match(r"([\w-]+)>=([\d.]+)", d).groups() for d in package["project"]["dependencies"]
    )
    pinned = re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints-lowest.txt").read_text(), re.M)
    apart = {"torch", "torchvision"}
    assert {n: v for n, v in pinned if n not in apart} == {
        n: v for n, v in bounds.items() if n not in apart
    }
