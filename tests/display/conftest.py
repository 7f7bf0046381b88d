"""Synthetic results for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import build

from benchmark.study.model import Study


@pytest.fixture
def make_results(tmp_path: Path) -> Callable[..., Study]:
    """A factory of synthetic results; see `build`."""

    def make(**options: Any) -> Study:
        return build(tmp_path / "suite", **options)

    return make
