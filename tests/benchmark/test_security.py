"""Results from somebody else: shown, never executed, and never a way out of their folder."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from typer.testing import CliRunner

from benchmark import files
from benchmark.cli import app
from benchmark.display.table import escape
from benchmark.display.tables import write_tables
from benchmark.engine.cluster import Executor
from benchmark.files import BadResults, plain
from benchmark.runs.runner import execute
from benchmark.study.results import load

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp"
"""Sets a terminal's title, clears it, colours it, turns text round."""


@pytest.fixture
def suite(toy_spec) -> Path:
    """A folder with two finished runs."""
    for seed in (0, 1):
        execute(toy_spec(seed=seed))
    return toy_spec().folder.path.parents[4]


@pytest.fixture
def run_json(suite) -> Path:
    return suite / "runs/toy/quadratic/random/0/run.json"


def edit(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def command(*arguments: object) -> str:
    """Output of a command that must refuse with one line, or succeed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 2), result.output
    assert "Traceback" not in result.output
    return result.output


def test_control_characters_reach_neither_terminal_nor_tables(suite, run_json):
    def change(content):
        content["method"]["uses"] = ESCAPES
        content["method"]["name"] = f"[red]{ESCAPES}"
        content["task"]["metrics"][0]["label"] = f"[link=file:///etc/passwd]{ESCAPES}"
        content["task"]["evaluator"] = {ESCAPES: ESCAPES}
        content["provenance"]["device"] = ESCAPES

    for path in suite.rglob("run.json"):
        edit(path, change)
    log = run_json.with_name("events.jsonl")
    *records, end = log.read_text().splitlines()
    reason = json.loads(end) | {"reason": f"[bold]{ESCAPES}"}
    log.write_text("\n".join([*records, json.dumps(reason)]) + "\n")
    results = suite.parent
    shown = command("status", "--suite", "toy", "--results", results)
    shown += command("table", "--suite", "toy", "--results", results)
    assert "[bold]" in shown  # shown as it is, and not taken for markup
    shown += "".join(path.read_text() for path in (suite / "tables").iterdir())
    assert not files.CONTROL.search(shown)


def test_labels_that_are_broken_mathematics_are_drawn_as_they_are(suite):
    label = r"$\frac{1}{$ \undefined ^"
    for path in suite.rglob("run.json"):
        edit(path, lambda content: content["task"]["metrics"][0].update(label=label))
    command("plot", "--suite", "toy", "--results", suite.parent, "--format", "svg")
    assert (suite / "figures/anytime.svg").exists()


def test_latex_is_escaped(suite):
    hostile = r"\input{/etc/passwd}%$x$ & ~^_# {} \\ "
    for path in suite.rglob("run.json"):
        edit(path, lambda content: content["method"].update(uses=hostile))
    write_tables(load(suite), suite / "tables")
    text = (suite / "tables/methods.tex").read_text()
    assert escape(hostile.strip()) in text
    assert r"\input" not in text


@pytest.mark.parametrize("text", ["", "λ ↓ é 中 [x] $", "two\tcells\nand lines"])
def test_plain_text_stays_what_it_is(text):
    assert plain({text: [text, 1, None]}) == {text: [text, 1, None]}


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "artifacts", "."])
def test_links_in_a_run_folder_are_refused(suite, run_json, tmp_path, name):
    secret = tmp_path / "secret"
    target = run_json.parent / name if name != "." else run_json.parent
    shutil.move(target, secret)
    target.symlink_to(secret)
    with pytest.raises(BadResults, match="is a link"):
        load(suite)


def test_a_linked_sample_grid_is_refused(suite, tmp_path):
    path = max(suite.rglob("samples-*.png"))
    shutil.move(path, tmp_path / "grid.png")
    path.symlink_to(tmp_path / "grid.png")
    with pytest.raises(BadResults, match="is a link"):
        load(suite)


@pytest.mark.parametrize("folder", ["tables", "figures"])
@pytest.mark.parametrize("whole", [True, False])
def test_nothing_is_written_through_links(suite, tmp_path, folder, whole):
    kind = {"tables": "table", "figures": "plot"}[folder]
    file = {"tables": "quality.csv", "figures": "anytime.png"}[folder]
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / file).write_text("mine")
    if whole:
        (suite / folder).symlink_to(target)
    else:
        (suite / folder).mkdir()
        (suite / folder / file).symlink_to(target / file)
    shown = command(kind, "--suite", "toy", "--results", suite.parent)
    assert "is a link" in " ".join(shown.split())
    assert [path.read_text() for path in target.iterdir()] == ["mine"]


def test_a_run_does_not_go_on_through_a_link(suite, toy_spec, tmp_path):
    log = toy_spec().folder.log
    shutil.move(log, tmp_path / "log")
    log.symlink_to(tmp_path / "log")
    before = (tmp_path / "log").read_bytes()
    with pytest.raises(BadResults, match="is a link"):
        execute(toy_spec())
    assert (tmp_path / "log").read_bytes() == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "../../../../tmp/owned"), ("task", "/etc/passwd"), ("label", "../random"),
        ("label", f"random{ESCAPES}"), ("seed", "0\n"), ("seed", 1),
    ],
)  # fmt: skip
def test_a_run_is_called_what_its_folder_is_called(suite, run_json, key, value):
    edit(run_json, lambda content: content["spec"].update({key: value}))
    with pytest.raises(BadResults, match=r"random/0 holds what no run writes"):
        load(suite)


@pytest.mark.parametrize("name", ["..evil", "-rf", "a b", f"x{ESCAPES}", "new\nline", "$(id)"])
def test_foreign_folder_names_are_refused_and_not_shown_raw(suite, name):
    shutil.move(suite / "runs/toy", suite / "runs" / name)
    with pytest.raises(BadResults, match="no folder of a task") as refused:
        load(suite)
    assert not files.CONTROL.search(str(refused.value))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b"null", b'{"spec": 3}', b"\xff\xfe", b"[" * 100_000,
        b'{"spec": {"task": ["toy"], "label": {}, "seed": null}}', b"1" * 5000,
    ],
)  # fmt: skip
def test_broken_descriptions_are_named(suite, run_json, content):
    run_json.write_bytes(content)
    with pytest.raises(BadResults, match=r"random/0"):
        load(suite)


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"[]", b"7", b'{"kind": "trial"}', b'{"kind": "rewind", "to": "x"}', b"{{{",
        b'{"kind": "trial", "trial": 1, "params": {"a": "b"}, "score": 1, "incumbent": true, '
        b'"metrics": null, "clock": {"ledgers": {"method": 1}, "work": {"nfe": 1, '
        b'"train_images": 1, "scored_images": 1}}}',
        b'{"kind": "trial", "trial": 1e400, "params": {}, "score": 1, "incumbent": true, '
        b'"metrics": null, "clock": {"ledgers": {"method": 1}, "work": {"nfe": 1, '
        b'"train_images": 1, "scored_images": 1}}}',
    ],
)  # fmt: skip
def test_broken_logs_are_named(suite, run_json, line):
    log = run_json.with_name("events.jsonl")
    log.write_bytes(line + b"\n" + log.read_bytes())
    with pytest.raises(BadResults, match=r"random/0"):
        load(suite)


def test_sizes_are_bounded(suite, run_json):
    os.truncate(run_json.with_name("events.jsonl"), files.LARGEST_FILE + 1)  # a sparse file
    with pytest.raises(BadResults, match="MiB"):
        load(suite)


def test_a_file_that_never_ends_is_refused(suite, run_json):
    run_json.unlink()
    os.mkfifo(run_json)
    with pytest.raises(BadResults, match="not a file"):
        load(suite)


def test_a_picture_of_absurd_size_is_refused(suite):
    path = max(suite.rglob("samples-*.png"))
    content = bytearray(path.read_bytes())
    content[16:24] = b"\x00\x0f\x00\x00" * 2
    path.write_bytes(content)
    with pytest.raises(BadResults, match="not a grid of samples"):
        load(suite)


class Payload:
    """What a pickle may do to whoever opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))]
)
def test_a_checkpoint_that_is_code_is_not_executed(suite, toy_spec, tmp_path, save):
    spec = toy_spec("default")
    execute(spec)
    save({"state": Payload(tmp_path / "owned"), "owner": "method"}, spec.folder.checkpoint)
    *records, _ = spec.folder.log.read_text().splitlines(keepends=True)
    spec.folder.log.write_text("".join(records))  # interrupted, so that it goes on
    outcome = execute(spec)
    load(suite)
    assert outcome.status == "finished"  # without the checkpoint
    assert not (tmp_path / "owned").exists()


def test_no_module_of_the_results_folder_is_imported(suite, tmp_path):
    for name in ("sitecustomize.py", "benchmark.py", "methods.py", "conftest.py"):
        for folder in (suite, suite.parent):
            (folder / name).write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    edit_all = {"method": str(suite / "methods.py")}
    for path in suite.rglob("run.json"):
        edit(path, lambda content: content["spec"].update(edit_all))
    subprocess.run(
        [sys.executable, "-P", "-m", "benchmark", "table", "--suite", "toy", "--results", "."],
        cwd=suite.parent, check=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert not (tmp_path / "owned").exists()


def test_a_local_session_listens_on_the_loopback_interface_only(toy_spec):
    def listening() -> set[tuple[str, int]]:
        me, seen = psutil.Process(), set()
        for each in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                connections = each.net_connections("inet")
                seen |= {tuple(c.laddr) for c in connections if c.status == psutil.CONN_LISTEN}
        return seen

    before = listening()
    with Executor(workers=1).connect([toy_spec()]) as connected:
        assert connected.call(os.getpid) != os.getpid()
        opened = listening() - before
    assert len(opened) > 1  # the scheduler, the worker
    assert {address for address, _ in opened} == {"127.0.0.1"}
