"""Joining result folders: what is copied, what is refused, and that refusal leaves no trace."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import old_results
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.files import BadResults
from benchmark.study.merge import MergeError, merge
from benchmark.study.results import load
from benchmark.study.stored import NoRuns

RUNS = ("finetune/gaussian/default", "finetune/gaussian/random", "schedule/digits/default")


def part(folder: Path, *seeds: int) -> Path:
    """Some seeds of a few stored runs as results of their own."""
    for run in RUNS:
        old_results.copy(folder, run, seeds)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return part(tmp_path / "first", 0)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return part(tmp_path / "second", 1, 2)


def change(run: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    described = json.loads((run / "run.json").read_text())
    edit(described)
    (run / "run.json").write_text(json.dumps(described))


def test_the_whole_is_the_sum_of_its_parts(first: Path, second: Path, tmp_path: Path) -> None:
    target = tmp_path / "joined"
    done = merge(target, [first, second])
    assert (done.added, done.present, done.unfinished) == (9, 0, 0)
    whole = load(part(tmp_path / "whole", 0, 1, 2))
    joined = load(target)
    assert joined.frame.equals(whole.frame)
    assert joined.runs.drop(columns="samples").equals(whole.runs.drop(columns="samples"))
    assert not list(target.glob(".merging*"))


def test_the_same_again_changes_nothing(first: Path, second: Path, tmp_path: Path) -> None:
    target = tmp_path / "joined"
    merge(target, [first])
    merge(target, [second])
    before = tree(target)
    done = merge(target, [second, first, second])
    assert done.added == 0
    assert tree(target) == before


def test_a_dry_run_says_what_would_be_added_and_writes_nothing(
    first: Path, second: Path, tmp_path: Path
) -> None:
    target = tmp_path / "joined"
    merge(target, [first])
    before = tree(tmp_path)
    result = CliRunner().invoke(app, ["merge", str(target), str(second), "--dry-run"])
    assert "6 runs would be added, 0 were there already" in result.output
    assert tree(tmp_path) == before
    change(second / "runs" / RUNS[0] / "1", lambda run: run.update(space_hash="another"))
    result = CliRunner().invoke(app, ["merge", str(target), str(second), "--dry-run"])
    assert result.exit_code == 2
    assert "differ in the search space" in result.output


def test_a_conflict_is_named_and_nothing_written(first: Path, second: Path, tmp_path: Path) -> None:
    target = tmp_path / "joined"
    merge(target, [first])
    before = tree(target)
    other = part(tmp_path / "other", 0, 1)
    log = other / "runs" / RUNS[1] / "0" / "events.jsonl"
    log.write_text(log.read_text().replace('"budget"', '"returned"'))
    with pytest.raises(MergeError, match=r"random/0 and .* same run with different content"):
        merge(target, [second, other])
    assert tree(target) == before


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["task"]["evaluator"].update(report_samples=5000), "evaluator of schedule/"),
        (lambda d: d.update(space_hash="0" * 12), "search space of schedule/digits"),
        (lambda d: d["spec"].update(options={"steps": 3}), "options of default"),
        (lambda d: d["spec"].update(clock="priced"), "clock of schedule/digits"),
        (lambda d: d["spec"].update(precision="bfloat16"), "precision of schedule/digits"),
        (lambda d: d["spec"].update(suite_seed=7), "suite seed"),
    ],
)
def test_results_that_do_not_compare_are_refused(
    first: Path, second: Path, tmp_path: Path, edit: Callable[..., object], message: str
) -> None:
    change(second / "runs" / RUNS[2] / "1", edit)
    with pytest.raises(MergeError, match=message):
        merge(tmp_path / "joined", [first, second])
    assert not (tmp_path / "joined").exists()


def _link_to_file(run: Path) -> None:
    (run / "events.jsonl").unlink()
    (run / "events.jsonl").symlink_to("/etc/passwd")


def _link_to_folder(run: Path) -> None:
    shutil.rmtree(run / "artifacts", ignore_errors=True)
    (run / "artifacts").symlink_to("/etc")


def _link_to_lock(run: Path) -> None:
    (run / ".lock").unlink(missing_ok=True)
    (run / ".lock").symlink_to(run / "run.json")


def _linked_run(run: Path) -> None:
    (run.parent / "7").symlink_to(run)


def _other_seed(run: Path) -> None:
    run.rename(run.with_name("9"))


def _bad_seed(run: Path) -> None:
    run.rename(run.with_name("one"))


def _bad_name(run: Path) -> None:
    run.parent.rename(run.parent.with_name("a b;c"))


def _climbing(run: Path) -> None:
    change(run, lambda d: d["spec"].update(label="../../../../escape"))


def _no_json(run: Path) -> None:
    (run / "run.json").write_text("[" * 100000)


def _no_log(run: Path) -> None:
    (run / "events.jsonl").write_text("nonsense\n" * 2)  # a last line may be torn


def _odd_log(run: Path) -> None:
    (run / "events.jsonl").write_text('{"kind": "trial"}\n')


def _old_schema(run: Path) -> None:
    change(run, lambda d: d.update(schema=99))


def _no_picture(run: Path) -> None:
    (run / "artifacts").mkdir(exist_ok=True)
    (run / "artifacts" / "samples-000001.png").write_bytes(b"MZ")


def _no_first_picture(run: Path) -> None:
    (run / "artifacts").mkdir(exist_ok=True)
    (run / "artifacts" / "samples-000000.png").write_bytes(b"MZ")
    Image.new("L", (64, 8)).save(run / "artifacts" / "samples-000001.png")


def _pipe(run: Path) -> None:
    (run / "error.txt").unlink(missing_ok=True)
    os.mkfifo(run / "error.txt")


def _huge(run: Path) -> None:
    with open(run / "error.txt", "wb") as file:
        file.truncate(10**9)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_link_to_file, "is a link"), (_link_to_folder, "is a link"),
        (_link_to_lock, "is a link"), (_linked_run, "is a link"),
        (_other_seed, "run.json is of"), (_bad_seed, "run.json is of"),
        (_bad_name, "no folder of a task"), (_climbing, "run.json is of"),
        (_no_json, "run.json is damaged"), (_no_log, "events.jsonl is damaged at line 1"),
        (_odd_log, "no run writes"), (_old_schema, "schema 99"), (_no_picture, "not a grid"),
        (_no_first_picture, "samples-000000.png is not a grid"),
        (_pipe, "error.txt"), (_huge, "more than the 1 MiB"),
    ],
)  # fmt: skip
def test_what_strangers_may_send(
    first: Path, second: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(second / "runs" / RUNS[1] / "2")
    with pytest.raises((MergeError, BadResults), match=message) as refused:
        merge(tmp_path / "joined", [first, second])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "joined").exists()


def test_nothing_that_could_be_executed_is_copied(first: Path, tmp_path: Path) -> None:
    run = first / "runs" / RUNS[1] / "0"
    for name in ("checkpoint.pt", "evil.py", "artifacts/evil.pkl", "heartbeat.json"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(b"\x80\x04.")
    merge(tmp_path / "joined", [first])
    copied = {Path(name).name for name in tree(tmp_path / "joined")}
    assert copied <= {"run.json", "events.jsonl"} | {n for n in copied if n.startswith("samples-")}


def test_folders_that_are_no_results(first: Path, tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="no folder `runs`"):
        merge(tmp_path / "joined", [tmp_path])
    (tmp_path / "empty" / "runs").mkdir(parents=True)
    with pytest.raises(NoRuns, match="holds no runs"):
        merge(tmp_path / "joined", [tmp_path / "empty"])
    with pytest.raises(MergeError, match="folder to merge into"):
        merge(first, [first])


def test_the_command_rebuilds_the_frame_and_reports_in_one_line(
    first: Path, second: Path, tmp_path: Path
) -> None:
    target = tmp_path / "joined"
    result = CliRunner().invoke(app, ["merge", str(target), str(first), str(second)])
    assert result.exit_code == 0, result.output
    assert "9 runs added, 0 were there already" in result.output
    assert (target / "frame.parquet").exists()
    _no_log(second / "runs" / RUNS[1] / "2")
    result = CliRunner().invoke(app, ["merge", str(tmp_path / "other"), str(second)])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
