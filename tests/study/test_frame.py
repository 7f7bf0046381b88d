"""The stored frame: read where it is of these very logs, built again otherwise."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import old_results
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.display import tables
from benchmark.study import results
from benchmark.study.frame import FrameBuilder
from benchmark.study.model import Study
from benchmark.study.results import save_frame

RUN = "schedule/digits/random"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "quick"
    old_results.copy(folder, RUN, range(2))
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes every log that is made into rows."""
    noted: list[str] = []
    add = FrameBuilder.add

    def noting(self: FrameBuilder, key: Any, events: Any) -> None:
        noted.append(key["method"])
        add(self, key, events)

    monkeypatch.setattr(results.FrameBuilder, "add", noting)
    return noted


def test_an_unchanged_suite_is_read_from_its_frame(suite: Path, built: list[str]) -> None:
    first = Study.load(suite)
    save_frame(first)
    assert len(built) == 2
    again = Study.load(suite)
    assert len(built) == 2
    pd.testing.assert_frame_equal(again.frame, first.frame)
    pd.testing.assert_frame_equal(again.runs, first.runs)
    written = (suite / "frame.parquet").stat().st_mtime_ns
    save_frame(again)
    assert (suite / "frame.parquet").stat().st_mtime_ns == written


def test_the_folder_may_be_named_from_elsewhere(
    suite: Path, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_frame(Study.load(suite))
    monkeypatch.chdir(suite.parent)
    study = Study.load(Path("quick"))
    assert len(built) == 2
    assert all(Path(path).is_file() for path in study.runs["samples"])
    assert all(path.startswith("quick/") for path in study.runs["samples"])


def _append(suite: Path) -> None:
    log = suite / "runs" / RUN / "0" / "events.jsonl"
    with open(log, "a") as file:
        file.write(json.dumps({"kind": "retry"}) + "\n")


def _rewrite_with_the_same_time(suite: Path) -> None:
    log = suite / "runs" / RUN / "0" / "events.jsonl"
    before = log.stat()
    log.write_bytes(log.read_bytes().replace(b'"budget"', b'"BUDGET"'))
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))


def _add_a_run(suite: Path) -> None:
    old_results.copy(suite, RUN, (2,))


def _remove_a_run(suite: Path) -> None:
    shutil.rmtree(suite / "runs" / RUN / "0")


def _swap(suite: Path) -> None:
    zero, one = suite / "runs" / RUN / "0" / "events.jsonl", suite / "runs" / RUN / "1/events.jsonl"
    content = zero.read_bytes()
    zero.unlink()
    shutil.copy2(one, zero)
    one.write_bytes(content)


@pytest.mark.parametrize(
    "change", [_append, _rewrite_with_the_same_time, _add_a_run, _remove_a_run, _swap]
)
def test_changed_logs_are_read_again(suite: Path, built: list[str], change) -> None:
    save_frame(Study.load(suite))
    change(suite)
    built.clear()
    Study.load(suite)
    assert built


def test_a_copied_folder_is_read_from_its_logs(suite: Path, built: list[str]) -> None:
    save_frame(Study.load(suite))
    shutil.copytree(suite, suite.with_name("copy"))  # keeps the times of change
    built.clear()
    assert len(Study.load(suite.with_name("copy")).frame)
    assert len(built) == 2


def test_a_frame_of_other_columns_or_no_frame_is_not_used(suite: Path, built: list[str]) -> None:
    study = Study.load(suite)
    for content in (b"", b"PAR1", os.urandom(1000)):
        (suite / "frame.parquet").write_bytes(content)
        pd.testing.assert_frame_equal(Study.load(suite).frame, study.frame)
    assert len(built) == 2 * 4


def test_what_may_still_change_is_read_again(suite: Path, built: list[str]) -> None:
    log = suite / "runs" / RUN / "0" / "events.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))  # no end
    save_frame(Study.load(suite))
    built.clear()
    assert "interrupted" in set(Study.load(suite).runs["status"])
    assert len(built) == 2


def test_tables_are_printed_where_nothing_can_be_written(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system", str(suite / "tables"))

    monkeypatch.setattr(tables, "write_tables", refuse)
    monkeypatch.setattr(results, "save_frame", refuse)
    result = CliRunner().invoke(app, ["table", "--results", str(suite.parent)])
    assert result.exit_code == 0
    assert "random" in result.stdout
    assert result.stderr.startswith("not written: ")
    assert "Read-only file system" in result.stderr
    assert result.stderr.count("\n") == 1


def test_names_with_brackets_and_dots_are_shown_as_they_are(suite: Path, tmp_path: Path) -> None:
    odd = tmp_path / "out[lr=0.1]" / "lr0.5"
    shutil.copytree(suite, odd)
    result = CliRunner().invoke(app, ["table", "--suite", "lr0.5", "--results", str(odd.parent)])
    assert result.exit_code == 0, result.output
    assert f"{odd}/tables" in result.stdout
    path = tmp_path / "a[b]c?d.journal"
    arguments = ["export", str(path), "--suite", "lr0.5", "--results", str(odd.parent)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert str(path) in result.stdout
    assert path.is_file()
