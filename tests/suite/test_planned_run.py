"""A suite with planned contrasts from the file to the verdict, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import display
from benchmark.analysis.contrasts import planned
from benchmark.display import page
from benchmark.study.model import Study
from tests.commands import benchmark

SUITE = """
seeds = 6
focus = "bilevel"
[[tasks]]
name = "finetune/gaussian"
budget = 0.0001
[[methods]]
name = "default"
[[methods]]
name = "bilevel"
[[contrasts]]
name = "against the default"
against = "default"
"""


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run end with its answer alone: tables, figures and page take longer."""
    monkeypatch.setattr(display, "draw", lambda study: [])
    monkeypatch.setattr(page, "write_report", lambda study, folder: folder)


def run(folder: Path, *arguments: str) -> str:
    words = ("run", "--suite", "planned.toml", "--clock", "priced", "--workers", "0", "--all")
    return benchmark(*words, *arguments, cwd=folder)


def test_a_run_ends_with_the_answer_to_what_was_planned(tmp_path: Path) -> None:
    suite = tmp_path / "planned.toml"
    suite.write_text(SUITE)
    results = tmp_path / "results" / "planned"
    few = run(tmp_path, "--dry-run", "--seeds", "5")
    assert "5 seeds are too few to decide the planned comparisons: 6 can" in few
    assert not results.exists()
    said = run(tmp_path)
    assert "too few" not in said
    assert "bilevel is better than default on finetune/gaussian: E[r1] 0.97 higher over 6" in said
    assert "the smallest p that so many can give is 0.031." in said
    (row,) = planned(Study.load(results)).to_dict("records")
    assert (row["n"], row["wins"], row["p"], row["outcome"]) == (6, 6, 2 / 2**6, "better")
