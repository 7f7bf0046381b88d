"""The Python API: what a notebook does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import benchmark
from benchmark import registry
from benchmark.files import BadResults
from benchmark.registry import BrokenModule, UnknownName
from methods.random import RandomSearch
from tests.conftest import ToyTask


class Own(RandomSearch):
    """A method that a notebook defines."""

    name = "own"


class Taken(RandomSearch):
    """A method of a name that there is."""

    name = "random"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards which classes were added."""
    monkeypatch.setattr(registry, "_added", {base: {} for base in registry._added})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> benchmark.Study:
    results = tmp_path_factory.mktemp("a [red] place")
    return benchmark.run(
        tasks=["finetune/gaussian"], methods=["random", Own], seeds=2, budget=0.0001,
        clock="priced", results=results, quiet=True,
    )  # fmt: skip


def test_a_run_gives_its_results(study: benchmark.Study) -> None:
    assert set(study.frame.method) == {"random", "own"}
    assert list(study.tasks) == ["finetune/gaussian"]
    assert len(study.runs) == 4
    assert set(study.runs.status) == {"finished"}


def test_results_are_shown(study: benchmark.Study) -> None:
    quality = study.table("quality")
    assert {"task", "method", "mean", "n"} <= set(quality.columns)
    assert set(quality.method) == {"random", "own"}
    assert isinstance(study.plot("anytime"), Figure)
    assert "finetune/gaussian" in study.verdict()


def test_what_cannot_be_shown_is_named(study: benchmark.Study) -> None:
    with pytest.raises(KeyError, match=r"no table is called 'qualty'.*quality"):
        study.table("qualty")
    with pytest.raises((KeyError, ValueError), match=r"no .*figure is called 'anytme'"):
        study.plot("anytme")
    with pytest.raises(BadResults, match="schedules"):
        study.plot("schedules", "finetune/gaussian")


def test_stored_results_are_loaded(study: benchmark.Study) -> None:
    again = benchmark.load(study.folder)
    assert isinstance(again, benchmark.Study)
    assert again.table().equals(study.table())


def test_finished_runs_are_kept_until_told_otherwise(
    study: benchmark.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {
        "tasks": ["finetune/gaussian"], "methods": ["random"], "seeds": 2, "budget": 0.0001,
        "clock": "priced", "results": study.folder.parent,
    }  # fmt: skip
    benchmark.run(**asked)
    assert "2 runs, 0 to do in this process" in capsys.readouterr().out
    benchmark.run(**asked, fresh=True)
    assert "2 runs, 2 to do in this process" in capsys.readouterr().out


def test_a_task_may_be_a_class(tmp_path: Path) -> None:
    found = benchmark.run(
        tasks=[ToyTask], methods=["default"], seeds=1, budget=0.0001, results=tmp_path,
        clock="priced", quiet=True,
    )  # fmt: skip
    assert list(found.tasks) == ["toy/quadratic"]


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"methods": [Own], "workers": 2}, ValueError, "Own is a class of this process"),
        ({"methods": [Taken]}, BrokenModule, "Taken: there is 'random' among the methods already"),
        ({"methods": [int]}, BrokenModule, "int is no subclass of"),
        ({"methods": ["radnom"]}, UnknownName, "did you mean 'random'"),
        ({"tasks": ["finetune/gausian"]}, UnknownName, "did you mean 'finetune/gaussian'"),
        ({"clock": "sun"}, ValueError, "clock must be 'priced' or 'device', got 'sun'"),
        ({"device": "tpu"}, ValueError, "must be cpu or cuda"),
        ({"suite": "quik"}, UnknownName, "did you mean 'quick'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(
    tmp_path: Path, asked: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        benchmark.run(**asked, results=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_an_import_loads_nothing_that_takes_long() -> None:
    code = "import sys, benchmark; print({'torch', 'numpy', 'pandas', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
