"""The command line, called in this process: what a test needs that is not about processes."""

from __future__ import annotations

import contextlib
from pathlib import Path

from typer.testing import CliRunner

from benchmark import cli


def benchmark(*arguments: str, cwd: Path | str = ".", code: int = 0) -> str:
    """What `python -m benchmark ARGUMENTS` prints in the folder `cwd`, ending with `code`.

    An exception that the command does not handle itself is raised here.
    """
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output
