"""From what is asked for to a plan: names that collide, several commands at once, stop signals."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark import launch
from benchmark.engine.stopping import Stopped, interrupts_ignored, stop_signals
from benchmark.launch import LaunchError, Request, record_plan
from benchmark.runs.design import planned

SUITE = """
seeds = 1
[[tasks]]
name = "finetune/gaussian"
[[methods]]
name = "{method}"
"""


def _add(arguments: tuple[str, str]) -> None:
    folder, label = arguments
    record_plan(Path(folder), [SimpleNamespace(task="finetune/gaussian", label=label)])


def test_plans_of_commands_that_start_together_lose_nothing(tmp_path: Path) -> None:
    labels = [f"m{number}" for number in range(24)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_add, [(str(tmp_path), label) for label in labels], chunksize=1)
    assert {label for _, label in planned(tmp_path)} == set(labels)


def request(folder: Path, method: str = "random") -> Request:
    """A suite called mini in `folder`; results of all such folders go to one place."""
    folder.mkdir(exist_ok=True)
    (folder / "mini.toml").write_text(SUITE.format(method=method))
    return Request(str(folder / "mini.toml"), results=folder.parent / "results", workers=0)


def start(asked: Request) -> launch.Plan:
    plan = launch.plan(asked)
    record_plan(plan.folder, plan.specs, plan.suite)
    return plan


def test_two_suite_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first = request(tmp_path / "a")
    start(first)
    start(first)
    start(request(tmp_path / "copy"))  # the same suite
    other = request(tmp_path / "b", "default")
    with pytest.raises(LaunchError, match=r"copy/mini\.toml, and .*b/mini\.toml is another suite"):
        start(other)
    start(replace(other, results=tmp_path / "elsewhere"))
    (tmp_path / "copy/mini.toml").unlink()  # moved, perhaps
    start(other)


def test_an_edited_suite_is_the_same_suite(tmp_path: Path) -> None:
    start(request(tmp_path / "a"))
    start(request(tmp_path / "a", "default"))


@pytest.mark.parametrize("name", ["tasks", "methods"])
@pytest.mark.parametrize("kind", ["a module", "a package"])
def test_another_programs_names_are_refused_in_one_line(
    tmp_path: Path, name: str, kind: str
) -> None:
    stranger = tmp_path / f"{name}.py" if kind == "a module" else tmp_path / name / "__init__.py"
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_text("x = 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "list", "suites"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / name}")
    assert f"hides the package `{name}` of this benchmark" in line
    imported = subprocess.run(
        [sys.executable, "-c", "import benchmark"], cwd=tmp_path, capture_output=True, text=True
    )
    assert imported.stderr.splitlines()[-1].startswith(f"ImportError: {tmp_path / name}")


def test_the_installed_command_starts_beside_a_file_of_its_name(tmp_path: Path) -> None:
    """`python -m benchmark` would start that file: Python looks in the working directory first."""
    (entry,) = entry_points(group="console_scripts", name="diffusion-tuning-benchmark")
    (tmp_path / "benchmark.py").write_text("print('a stranger')\n")
    module, _, function = entry.value.partition(":")
    script = tmp_path / "bin" / entry.name
    script.parent.mkdir()
    script.write_text(f"from {module} import {function}\n{function}()\n")
    done = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "Compare ways to tune diffusion models" in done.stdout, done.stderr
    assert "a stranger" not in done.stdout


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_stop_and_their_handlers_come_back(name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    try:
        with pytest.raises(Stopped) as caught, stop_signals():
            signal.raise_signal(number)
        assert caught.value.exit_code == 128 + number
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_interrupts_are_ignored_and_then_heard_again() -> None:
    with stop_signals():
        before = signal.getsignal(signal.SIGINT)
        with interrupts_ignored():
            signal.raise_signal(signal.SIGINT)
            signal.signal(signal.SIGINT, lambda *_: sys.exit())  # as dask_jobqueue does
        assert signal.getsignal(signal.SIGINT) == before
