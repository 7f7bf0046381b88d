"""A run that never ends is ended at its hard limit, whatever executes it."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SUITE = """
seeds = 1
hard_limit = 20
[[tasks]]
name = "finetune/gaussian"
budget = 0.00002
[[methods]]
name = "random"
[[methods]]
name = "{file}"
[[methods]]
name = "default"
"""
METHOD = """
from methods.base import Method
class Stuck(Method):
    'Never ends.'
    name, citation = 'stuck', '-'
    def run(self, problem):
        problem.evaluate(problem.space.default)
        while True:
            {body}
"""


def benchmark(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments], cwd=cwd, capture_output=True, text=True
    )


def prepare(folder: Path, body: str) -> list[str]:
    lines = textwrap.indent(body, " " * 12).strip()
    (folder / "stuck.py").write_text(METHOD.format(body=lines))
    (folder / "stuck.toml").write_text(SUITE.format(file="stuck.py"))
    return ["run", "--all", "--suite", "stuck.toml", "--clock", "priced"]


@pytest.mark.slow
def test_on_workers_the_others_go_on(tmp_path):
    done = benchmark(
        *prepare(tmp_path, "__import__('time').sleep(0.1)"), "--workers", "1", cwd=tmp_path
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "stuck seed 0: did not end within its hard limit of 20 s" in done.stdout
    status = benchmark("status", "--suite", "stuck", cwd=tmp_path).stdout
    assert "1 failed, 2 finished" in status
    assert "hard limit of 20 s" in " ".join(status.split())
    trace = tmp_path / "results/stuck/runs/finetune/gaussian/stuck/0/error.txt"
    assert "stuck.py" in trace.read_text()


@pytest.mark.slow
def test_in_one_process_the_same_command_goes_on_with_the_others(tmp_path):
    swallow = (
        "__import__('os').chdir('/')\n"
        "try:\n    problem.evaluate(problem.space.default)\nexcept BaseException:\n    pass"
    )
    arguments = [*prepare(tmp_path, swallow), "--workers", "0"]
    first = benchmark(*arguments, cwd=tmp_path)
    assert first.returncode == 1, first.stdout + first.stderr
    assert "goes on after its budget has ended; recorded as failed; going on" in first.stderr
    status = benchmark("status", "--suite", "stuck", cwd=tmp_path).stdout
    assert "1 failed, 2 finished" in status
    second = benchmark(*arguments, cwd=tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "1 failed earlier; --retry-failed" in " ".join(second.stdout.split())


def test_a_run_that_holds_the_interpreter_is_ended_too(tmp_path):
    """No thread gets a turn in one long call of compiled code: the last resort needs none."""
    code = """
        import itertools
        from pathlib import Path
        from benchmark.runs import watchdog
        from benchmark.runs.clock import PricedClock
        from benchmark.runs.folder import RunFolder
        watchdog.DEAD = 1.0
        folder = RunFolder(Path.cwd())
        folder.append({"kind": "start"})
        with watchdog.watched(folder, 1.0, PricedClock(1.0, {})):
            sum(itertools.repeat(0))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    from benchmark.runs.folder import RunFolder, ending

    assert ending(RunFolder(tmp_path)) == (
        "failed", "did not end within its hard limit, nor let go of the interpreter"
    )  # fmt: skip
    RunFolder(tmp_path).mend()
    assert ending(RunFolder(tmp_path))[0] == "failed"
    assert "Thread" in (tmp_path / "error.txt").read_text()
    assert not (tmp_path / "hang.txt").exists()
