"""Packed results: they hold the logs exactly, read like the folder, and refuse what is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import old_results
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.display.tables import tables
from benchmark.files import BadResults
from benchmark.runs.design import Design, record_design
from benchmark.study.model import Study
from benchmark.study.pack import FORMAT, SCHEMA, pack
from benchmark.study.stored import open_suite

RUNS = ("finetune/gaussian/default", "schedule/digits/random", "schedule/digits/bilevel")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "quick"
    for run in RUNS:
        old_results.copy(folder, run, range(2))
    record_design(folder, Design(focus="bilevel"))
    shutil.copy(old_results.STORED / "plan.json", folder)
    return folder


@pytest.fixture
def packed(suite: Path, tmp_path: Path) -> Path:
    path = tmp_path / "packed" / "quick.parquet"
    path.parent.mkdir()
    assert pack(open_suite(suite), path) == 6
    return path


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def logs(folder: Path) -> dict[str, bytes]:
    names = ("run.json", "events.jsonl", "error.txt")
    files = [file for file in folder.rglob("*") if file.name in names]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_a_study_reads_the_same_packed_and_unpacked(suite: Path, packed: Path) -> None:
    before, after = Study.load(suite), Study.load(packed)
    pd.testing.assert_frame_equal(after.frame, before.frame)
    places = ["samples", "tile"]
    pd.testing.assert_frame_equal(after.runs.drop(columns=places), before.runs.drop(columns=places))
    assert (after.name, after.planned, after.design) == ("quick", before.planned, before.design)
    assert after.focus == "bilevel"
    assert after.descriptions == before.descriptions
    for name, table in tables(before).items():
        pd.testing.assert_frame_equal(tables(after)[name].data, table.data)


def test_logs_come_back_byte_for_byte(suite: Path, packed: Path, tmp_path: Path) -> None:
    (suite / "runs" / RUNS[1] / "0" / "error.txt").write_text("a traceback\n")
    log = suite / "runs" / RUNS[1] / "1" / "events.jsonl"
    log.write_bytes(log.read_bytes() + b'{"kind": "tri')  # a crash tore the last record
    packed.unlink()
    assert command("pack", suite, packed).exit_code == 0
    result = command("unpack", packed, tmp_path / "back")
    assert result.exit_code == 0, result.output
    assert "6 runs in" in result.output
    assert logs(tmp_path / "back") == logs(suite) | {}
    for name in ("plan.json", "design.json"):
        assert json.loads((tmp_path / "back" / name).read_text()) == json.loads(
            (suite / name).read_text()
        )
    assert "0 runs in" in command("unpack", packed, tmp_path / "back").output  # nothing twice


def test_a_folder_with_one_packed_suite_stands_for_it(packed: Path, tmp_path: Path) -> None:
    result = command("merge", tmp_path / "joined", packed.parent)
    assert "6 runs added" in result.output
    assert logs(tmp_path / "joined") == logs(tmp_path / "results" / "quick")
    shutil.copy(packed, packed.with_name("another.parquet"))
    assert command("merge", tmp_path / "joined", packed.parent).exit_code == 2  # which of the two?


def test_packing_an_unpacked_suite_gives_the_same_file(packed: Path, tmp_path: Path) -> None:
    command("unpack", packed, tmp_path / "back")
    command("pack", tmp_path / "back")
    assert (tmp_path / "back.parquet").read_bytes() == packed.read_bytes()


def test_pictures_are_those_that_figures_show(packed: Path) -> None:
    study = Study.load(packed)
    shown = study.runs[study.runs["samples"].notna()]
    assert set(zip(shown["method"], shown["seed"], strict=True)) == {("random", 0), ("bilevel", 0)}
    for newest in shown["samples"]:
        assert study.has_picture(Path(newest))
        assert study.picture(Path(newest)).startswith(b"\x89PNG")
    with pytest.raises(FileNotFoundError):
        study.picture(Path(newest).with_name("samples-999999.png"))


@pytest.mark.parametrize("given", ["the folder of all results", "the file"])
def test_reading_commands_take_packed_results(packed: Path, given: str) -> None:
    results = packed if given == "the file" else packed.parent
    for name in ("status", "table"):
        result = command(name, "--results", results)
        assert result.exit_code == 0, result.output
        assert "bilevel" in result.output
    assert (packed.parent / "quick" / "tables").is_dir()
    assert (packed.parent / "quick" / "frame.parquet").is_file()
    assert command("plot", "--results", results, "--format", "png").exit_code == 0
    assert (packed.parent / "quick" / "figures" / "samples-schedule-digits.png").is_file()
    result = command("report", "--results", results)
    assert result.exit_code == 0, result.output
    studies = packed.parent / "studies.journal"
    result = command("export", studies, "--results", results)
    assert "6 studies" in result.output


def test_packed_results_compare_and_merge(suite: Path, packed: Path, tmp_path: Path) -> None:
    result = command("compare", packed, suite)
    assert "0 show a difference" in result.output
    old_results.copy(tmp_path / "more", RUNS[1], (2,))
    result = command("merge", tmp_path / "joined", packed, tmp_path / "more")
    assert result.exit_code == 0, result.output
    assert "7 runs added" in result.output
    result = command("merge", packed, tmp_path / "more")
    assert result.exit_code == 2
    assert "must be a folder" in result.stderr


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _garbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    path.write_bytes(content)


def _text(path: Path) -> None:
    path.write_text("a,b\n1,2\n")


def _foreign(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


def _link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to(path.with_name("other"))


def _edited(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        table = pq.read_table(path)
        rows = table.to_pylist()
        edit(rows[0])
        pq.write_table(
            pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata(table.schema.metadata), path
        )

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_torn, "damaged or no packed suite"), (_garbled, "quick.parquet"),
        (_text, "damaged or no packed suite"), (_foreign, "is not a packed suite"),
        (_link, "is a link"),
        (_edited(lambda row: row.update(task="../../escape")), "is not a run"),
        (_edited(lambda row: row.update(method="a b;c")), "is not a run"),
        (_edited(lambda row: row.update(samples=[{"name": "../x.png", "png": b""}])), "no file of"),
        (_edited(lambda row: row.update(seed=7)), "/7"),
        (_edited(lambda row: row.update(description=b"[" * 100_000)), "run.json is damaged"),
        (_edited(lambda row: row.update(events=b"nonsense\n" * 2)), "damaged at line 1"),
    ],
)  # fmt: skip
def test_what_is_no_pack_is_refused_in_one_line(
    packed: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(packed)
    with pytest.raises(BadResults, match=message):
        Study.load(packed)
    for result in (
        command("table", "--results", packed),
        command("unpack", packed, tmp_path / "back"),
    ):
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "back").exists()
    assert not (tmp_path / "escape").exists()


def test_another_file_is_not_overwritten(suite: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.parquet"
    _foreign(mine)
    before = mine.read_bytes()
    result = command("pack", suite, mine)
    assert result.exit_code == 2
    assert "exists" in result.stderr
    assert mine.read_bytes() == before


def test_a_folder_without_runs_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = command("pack", tmp_path / "empty")
    assert result.exit_code == 2
    assert "holds no runs" in result.stderr
    assert not (tmp_path / "empty.parquet").exists()


def test_the_format_is_a_plain_table(packed: Path) -> None:
    table = pq.read_table(packed)
    assert table.schema.metadata[b"format"] == FORMAT.encode()
    frame = pd.read_parquet(packed, columns=["task", "method", "seed", "status", "description"])
    assert (frame["status"] == "finished").all()
    assert json.loads(frame["description"][0])["spec"]["task"] == frame["task"][0]


def test_reading_a_pack_imports_no_learning_library(packed: Path) -> None:
    code = (
        "import sys; from benchmark.study.stored import open_suite; from pathlib import Path; "
        f"list(open_suite(Path({str(packed)!r})).runs); "
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
