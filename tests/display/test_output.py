"""What a command prints: text as it is, on every kind of terminal."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.text import Text

from benchmark.cli import output

HOSTILE = "out[lr=0.1] [/a] [red]x[/red] :smile: a?b.db"


def test_a_users_brackets_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(output, "console", output.plain(stream, width=200))
    output.console.print(f"wrote {HOSTILE}")
    output.console.print(Text(HOSTILE), style="bold")
    output.print_lines([HOSTILE])
    output.print_rows([{"name": HOSTILE}])
    assert stream.getvalue().count(HOSTILE) == 4


PROGRAM = """
from benchmark.cli import output
output.print_columns(["method", "FID ↓"], [["λ-tuned †", "1.0"], ["\\u4e2d", "2.0"]])
output.console.print("E[r1] ↑ …")
output.complain("no \\u4e2d")
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-8"])
def test_every_code_page_gets_plain_output(encoding: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONIOENCODING": encoding, "PATH": "", "NO_COLOR": "1"},
        capture_output=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr.decode(errors="replace")
    shown = run.stdout.decode(encoding)
    assert "1.0" in shown
    assert "2.0" in shown
    assert "\x1b" not in shown
    if encoding == "ascii":
        assert "FID v" in shown
        assert "lambda-tuned +" in shown
        assert "E[r1] ^ ..." in shown
        assert "\\u4e2d" in shown  # by its number: another character would be another name


def test_closed_streams_do_not_stop_a_command() -> None:
    closed = f"import os, sys\nos.close(1)\nos.close(2)\nsys.stdout = sys.stderr = None\n{PROGRAM}"
    run = subprocess.run([sys.executable, "-c", closed], timeout=120)
    assert run.returncode == 0
