"""Slurm that refuses jobs, played by scripts: a job is a process of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.engine import slurm
from benchmark.engine.cluster import Executor
from tests.engine.conftest import RUN, SUITE, wait_for

pytestmark = pytest.mark.slow
EXECUTOR = """
[executor]
interface = "lo"
workers = 2
queue = "gpus"
memory = "600MB"
"""
REFUSING = """#!/bin/sh
echo "sbatch: error: invalid partition specified: gpus" >&2
echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2
exit 1
"""
REFUSING_ONCE = """#!/bin/sh
if mkdir {folder}/refused; then
    echo "sbatch: error: Unable to contact slurm controller (connect failure)" >&2
    exit 1
fi
cp $1 {folder}/$$.sh  # its submitter deletes it
setsid sh {folder}/$$.sh > {folder}/$$.log 2>&1 < /dev/null &
echo "Submitted batch job $!"
"""
CANCELLING = "#!/bin/sh\nkill -- -$1\n"


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put scripts called `sbatch` and `scancel` first on the path."""

    def write(submitting: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, text in (("sbatch", submitting), ("scancel", CANCELLING)):
            (folder / name).write_text(text.replace("{folder}", str(tmp_path)))
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return write


@pytest.mark.parametrize("clock", ["priced", "device"])
def test_a_refusal_ends_the_command_with_slurms_words(scripts, commands, tmp_path, clock):
    scripts(REFUSING)
    (tmp_path / "mini.toml").write_text(SUITE + EXECUTOR)
    run = commands(*RUN, "--clock", clock, "--executor", "slurm", log="run.log")
    assert run.end() == 2, run.output
    last = run.output.splitlines()[-1]
    assert "Invalid partition name specified" in last
    assert "[executor]" in last
    assert "Traceback" not in run.output


def test_a_job_that_was_refused_once_is_submitted_again(scripts, toy_spec, monkeypatch):
    scripts(REFUSING_ONCE)
    monkeypatch.setattr(slurm, "RESUBMIT_SPACING", 1.0)
    specs = [toy_spec(seed=seed) for seed in (0, 1)]
    settings = {"interface": "lo", "memory": "600MB"}
    with Executor("slurm", 2, settings=settings).connect(specs) as connected:
        wait_for(lambda: connected.slots() == 2, "both workers")
        assert not connected.refusals
        assert connected.call(sum, (1, 2)) == 3
