"""A task from a Python file: checked, run in this process and on workers, refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmark import registry
from benchmark.registry import BrokenModule
from benchmark.suite import SuiteError, load, select
from tests.commands import benchmark

FILE = Path(__file__).with_name("my_task.py")
SUITE = """
seeds = 1
[[tasks]]
file = "my_task.py"
budget = 0.0001
[[methods]]
name = "random"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the task and a suite of it; what is added is forgotten afterwards."""
    shutil.copy(FILE, tmp_path)
    (tmp_path / "mini.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_added", {base: {} for base in registry._added})
    return tmp_path


def test_check_takes_a_file_of_a_task(folder: Path) -> None:
    said = benchmark("check", "my_task.py")
    assert "the budget can end a solve" in said
    assert "FAILED" not in said


@pytest.mark.usefixtures("undrawn")
def test_a_task_from_a_file_runs_here_and_on_workers_alike(folder: Path) -> None:
    small = ("--method", "random", "--clock", "priced", "--seeds", "1", "--budget", "0.0001")
    benchmark("run", "--task", "my_task.py", *small, "--suite", "mini.toml", "--workers", "0")
    benchmark(
        "run", "--all", "--suite", "mini.toml", "--clock", "priced", "--workers", "1",
        "--results", "on-workers",
    )  # fmt: skip
    frames = [
        pd.read_parquet(path / "mini/frame.parquet")
        for path in (Path("results"), Path("on-workers"))
    ]
    assert set(frames[0].task) == {"mine/parabola"}
    pd.testing.assert_frame_equal(*frames)
    assert "1 finished" in benchmark("status", "--suite", "mini")


def test_the_file_travels_with_the_run(folder: Path) -> None:
    (spec,) = load("mini.toml").specs(folder / "results", "priced", "cpu")
    assert (spec.task, spec.task_file) == ("mine/parabola", str(folder / "my_task.py"))
    assert "task_file" not in spec.identity()
    added = select(load("quick"), tasks=["my_task.py", "finetune/gaussian"], methods=["random"])
    assert [entry.name for entry in added.tasks] == ["finetune/gaussian", "mine/parabola"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    budget = 1 / 3600\n", "", "class Mine needs `budget`"),
        ("def score(", "def grade(", "class Mine needs a `score` method"),
        ('name = "mine/parabola"', 'name = "../x"', "a name is letters, digits"),
        ('name = "mine/parabola"', 'name = "finetune/gaussian"', "among the tasks already"),
        ("budget = 1 / 3600", 'budget = "1"', "positive number of GPU-hours"),
        ("class Mine(Task)", "class Mine", "exactly one Method or Task subclass"),
        ("STEPS = 50", "1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    folder: Path, old: str, new: str, message: str
) -> None:
    text = FILE.read_text()
    assert old in text
    (folder / "my_task.py").write_text(text.replace(old, new))
    with pytest.raises(SuiteError, match=message) as caught:
        load("mini.toml")
    assert str(caught.value).startswith("mini.toml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('file = "nowhere.py"', "nowhere.py: no such file"),
        ('file = "my_task"', "ends with .py"),
        ('file = "my_task.py"\nname = "finetune/gaussian"', "a name or a `file`"),
        ("file = 3", "needs a file, got 3"),
    ],
)
def test_a_suite_names_a_file_or_says_why_not(folder: Path, entry: str, message: str) -> None:
    (folder / "mini.toml").write_text(SUITE.replace('file = "my_task.py"', entry))
    with pytest.raises(SuiteError, match=message):
        load("mini.toml")


def test_methods_and_tasks_are_not_mixed_up(folder: Path) -> None:
    with pytest.raises(BrokenModule, match="defines a task; give it by --task"):
        registry.method("my_task.py")
    text = "from methods.random import RandomSearch\nclass M(RandomSearch):\n    name = 'm'\n"
    (folder / "my_method.py").write_text(text)
    with pytest.raises(BrokenModule, match="defines a method; give it by --method"):
        registry.task("my_method.py")
