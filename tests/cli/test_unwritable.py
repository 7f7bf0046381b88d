"""Results that cannot be written to: commands print what they can, then name what was not written.

Where a file should be written there is a folder, which stops every user, root too.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from benchmark import cli
from tests import old_results

TASK = "schedule/digits"
METHODS = ("random", "bilevel")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("kept")
    for method in METHODS:
        old_results.copy(results / "quick", f"{TASK}/{method}", range(2))
    return results


@pytest.fixture
def results(kept: Path, tmp_path: Path) -> Path:
    """Results in which frame, tables, figures and report cannot be written."""
    shutil.copytree(kept, tmp_path / "results")
    suite = tmp_path / "results" / "quick"
    for name in ("tables", "figures"):
        shutil.rmtree(suite / name, ignore_errors=True)
        (suite / name).touch()
    for name in ("frame.parquet", "report.html"):
        (suite / name).unlink(missing_ok=True)
        (suite / name).mkdir()
    return tmp_path / "results"


def invoke(*arguments: str) -> Result:
    done = CliRunner().invoke(cli.app, arguments)
    assert "Traceback" not in done.output
    return done


def test_the_table_is_printed(results: Path) -> None:
    done = invoke("table", "--results", str(results))
    assert done.exit_code == 0, done.output
    assert done.output.index("bilevel") < done.output.index("not written:")
    assert "frame.parquet" in done.output.partition("not written:")[2]


def test_the_report_says_the_answer_first(results: Path) -> None:
    done = invoke("report", "--results", str(results))
    assert done.exit_code == 2
    said, _, error = done.output.partition("error:")
    assert "bilevel" in said
    assert "report.html" in error


def test_figures_that_cannot_be_written_are_one_line(results: Path) -> None:
    done = invoke("plot", "--results", str(results), "--format", "png", "--figure", "anytime")
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1
    assert "figures" in done.output


def test_what_is_merged_already_is_counted(results: Path, kept: Path) -> None:
    done = invoke("merge", str(results / "quick"), str(kept / "quick"))
    assert done.exit_code == 0, done.output
    assert "0 runs added, 4 were there already" in done.output
    assert "frame.parquet" in done.output.partition("not written:")[2]
