"""A method needs a name and a `run`, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark import cli, registry
from benchmark.contract.methods import declares_method

METHOD = """\
from methods.base import Method


class Halving(Method):
    name = "halving"

    def run(self, problem):
        problem.evaluate(problem.space.default)
"""


def write(folder: Path, text: str) -> str:
    (folder / "halving.py").write_text(text)
    return str(folder / "halving.py")


def run(file: str, results: Path):
    return CliRunner().invoke(
        cli.app,
        ["run", "--method", file, "--task", "finetune/gaussian", "--seeds", "1", "--budget",
         "0.00005", "--clock", "priced", "--workers", "0", "--results", str(results)],
    )  # fmt: skip


def test_a_method_in_eight_lines_runs_and_is_described(tmp_path):
    file = write(tmp_path, METHOD)
    assert declares_method(registry.method(file)) is None
    done = run(file, tmp_path / "results")
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "results").glob("*/runs/finetune/gaussian/halving/0/run.json"))
    shown = CliRunner().invoke(cli.app, ["info", file])
    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('    name = "halving"\n', 'class Halving needs a `name = "..."`'),
        (METHOD[METHOD.index("    def run") :], "class Halving needs a `run` method"),
    ],
)
def test_a_method_that_lacks_something_is_refused_before_the_run(tmp_path, line, message):
    file = write(tmp_path, METHOD.replace(line, "    pass\n"))
    done = run(file, tmp_path / "results")
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "results").exists()
