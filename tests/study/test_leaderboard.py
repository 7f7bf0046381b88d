"""The table of all methods in the docs follows from the packs that are stored."""

from __future__ import annotations

import runpy
from pathlib import Path

import old_results
import pytest

from benchmark.study.merge import MergeError
from benchmark.study.pack import pack
from benchmark.study.stored import open_suite

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "studies" / "leaderboard.py"))


def packed(suite: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True)
    pack(open_suite(suite), target)
    return target


@pytest.fixture
def packs(tmp_path: Path) -> list[Path]:
    """Two methods of this project and one of somebody else."""
    for name, run in (
        ("ours", "finetune/gaussian/default"),
        ("ours", "finetune/gaussian/random"),
        ("theirs", "finetune/gaussian/bilevel"),
    ):
        old_results.copy(tmp_path / name, run, range(3))
    root = tmp_path / "root" / "results"
    packed(tmp_path / "ours", root / "reference" / "quick.parquet")
    packed(tmp_path / "theirs", root / "community" / "bilevel" / "quick.parquet")
    found: list[Path] = SCRIPT["packs"](tmp_path / "root")
    assert len(found) == 2
    return found


def test_the_table_in_the_docs_is_that_of_the_stored_packs() -> None:
    _, section, _ = SCRIPT["parts"]((ROOT / "docs" / "findings.md").read_text())
    again = "run python docs/studies/leaderboard.py"
    assert section == SCRIPT["leaderboard"](SCRIPT["packs"]()), again


def test_rows_of_others_stand_among_ours_the_best_first(packs: list[Path]) -> None:
    table = SCRIPT["leaderboard"](packs)
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")]
    head, *cells = [[cell.strip() for cell in row] for row in rows]
    sources = {row[0]: row[head.index("from")] for row in cells}
    assert sources == {"default": "this project", "random": "this project", "bilevel": "bilevel"}
    means = [float(row[1].split()[0]) for row in cells]
    assert means == sorted(means, reverse=True)  # a reward
    assert all(row[head.index("n")] == "3" for row in cells)
    targets = [title for title in head if "of the gain" in title]
    assert len(targets) == 2
    assert "how many of all runs reached it" in table


def test_packs_that_do_not_compare_are_refused(packs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "theirs" / "runs" / "finetune" / "gaussian" / "bilevel"
    for file in folder.rglob("run.json"):
        file.write_text(file.read_text().replace('"clock": "', '"clock": "other-'))
    packs[1].unlink()
    pack(open_suite(tmp_path / "theirs"), packs[1])
    with pytest.raises(MergeError, match="differ in the clock"):
        SCRIPT["leaderboard"](packs)
