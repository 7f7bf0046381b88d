"""A few injected faults of many kinds; `python -m tests.faults` injects thousands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.mutants import MUTANTS, ROOT, Mutant

COUNT = 60


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.title)
def test_every_mutant_breaks_something_that_is_there(mutant: Mutant) -> None:
    assert mutant.old in (ROOT / "benchmark" / f"{mutant.module}.py").read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
def test_no_fault_loses_or_changes_anything():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--count", str(COUNT)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    total = re.search(r"^all +(\d+)   0 not survived", done.stdout, re.MULTILINE)
    assert total, done.stdout
    assert int(total[1]) >= COUNT
