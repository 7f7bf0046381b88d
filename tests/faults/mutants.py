"""`python -m tests.faults.mutants`: break the harness on purpose; do the faults notice?

Each mutant is one edit in a copy of the sources. The campaign runs there until something is not
survived; a mutant that it does not notice is handed to the tests of the harness.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("benchmark", "methods", "tasks", "tests", "pyproject.toml")

TESTS = [
    f"tests/{room}/test_{name}.py"
    for room, name in (
        ("benchmark", "store"),
        ("benchmark", "bad_input"),
        ("runs", "problem"),
        ("runs", "runner"),
        ("runs", "watchdog"),
        ("runs", "clock"),
    )
]
"""What a mutant is handed to that no fault notices."""


@dataclass(frozen=True)
class Mutant:
    """One edit: every `old` in a module of the harness becomes `new`."""

    title: str
    module: str
    old: str
    new: str


MUTANTS = (
    Mutant("a torn last line stays", "store", "os.truncate(self.log, length)", "pass"),
    Mutant("a write that failed leaves its part", "store", "file.truncate(length)", "pass"),
    Mutant("whole files are written in place", "files",
           'with open(temporary, "wb") as file:\n            file.write(data)\n'
           "            file.flush()\n            os.fsync(file.fileno())\n"
           "        os.replace(temporary, path)\n",
           'with open(path, "wb") as file:\n            file.write(data)\n'),
    Mutant("the lock is ignored", "store", "lock.acquire(timeout=LOCK_TIMEOUT)", "pass"),
    Mutant("a rewind is ignored", "store", 'record["kind"] == "rewind"', "False"),
    Mutant("no record is forced to disk", "store", "os.fsync(file.fileno())", "pass"),
    Mutant("no whole file is forced to disk", "files", "os.fsync(file.fileno())", "pass"),
    Mutant("a damaged checkpoint is an error", "checkpoint",
           "except Exception:  # a damaged file raises anything\n        return None",
           "except ZeroDivisionError:\n        return None"),
    Mutant("a checkpoint of more steps than the log is taken", "problem",
           ' or saved["steps"] > len(self._log)', ""),
    Mutant("the generator is not restored", "problem",
           'self.rng.bit_generator.state = saved["rng"]', "pass"),
    Mutant("the count of trials is not restored", "problem", 'self._trials = saved["trials"]', ""),
    Mutant("the last evaluation is not restored", "problem",
           'self._evaluated_at = saved["evaluated_at"] / self._clock.budget', ""),
    Mutant("the log is not rewound to the checkpoint", "problem",
           'self._folder.append({"kind": "rewind", "to": steps})', "pass"),
    Mutant("a replay is charged", "problem",
           "self._clock.rewind(NOTHING_CHARGED)  # progress is replayed from its start too",
           'self._clock.switch("method")'),
    Mutant("charged time is not replayed", "problem",
           'self._clock.rewind(record["clock"])', "pass"),
    Mutant("the incumbent is not replayed", "problem",
           "self._cursor += 1\n        self._note(record)", "self._cursor += 1"),
    Mutant("an infinite score becomes the incumbent", "problem",
           "deliver and math.isfinite(score) and score", "deliver and score"),
    Mutant("counts of work are not replayed", "clock",
           'self.work = Counter(snapshot["work"])', "pass"),
    Mutant("what a session cut off is charged as well", "runner",
           'ledgers["method"] = charged', "pass"),
    Mutant("finished runs are done again", "launch",
           '("finished",) if retry_failed else ("finished", "failed")',
           '() if retry_failed else ("failed",)'),
    Mutant("failed runs are tried again unasked", "launch",
           'else ("finished", "failed")', 'else ("finished",)'),
    Mutant("a failure counts as finished", "runner",
           'status = "failed"\n', 'status = "finished"\n'),
    Mutant("a failure ends the command", "runner",
           "except (Exception, SystemExit, RunEnded) as error:",
           "except ZeroDivisionError as error:"),
    Mutant("sys.exit of a method ends the command", "runner",
           "(Exception, SystemExit, RunEnded)", "(Exception, RunEnded)"),
    Mutant("a method can hide an error of its task", "problem",
           "class RunEnded(BaseException)", "class RunEnded(Exception)"),
    Mutant("a full disk is a failure of the run", "runner",
           "if isinstance(fault, StorageError):", "if False:"),
    Mutant("the reason of a failure is as long as it likes", "runner",
           "REASON_LENGTH = 500", "REASON_LENGTH = 10**9"),
    Mutant("there is no watchdog", "watchdog", "> limit:", "> 1e9:"),
    Mutant("a hang is forgotten", "store",
           "if reason and _last_session", "if not reason and _last_session"),
    Mutant("SIGTERM is not heard", "stopping",
           '"SIGINT", "SIGTERM", "SIGHUP"', '"SIGINT", "SIGHUP"'),
    Mutant("prices change with the session", "runner",
           'stored["spec"]["prices"] if stored else spec.prices',
           '{k: v * 1.01 for k, v in spec.prices.items()} if stored else spec.prices'),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="faults that a mutant must survive")
    parser.add_argument("--only", default="", help="regular expression of titles")
    asked = parser.parse_args()
    survivors = 0
    for mutant in MUTANTS:
        if re.search(asked.only, mutant.title):
            noticed = notice(mutant, asked.count)
            survivors += not noticed
            print(f"| {mutant.title} | {noticed or '**not noticed**'} |", flush=True)
    return 1 if survivors else 0


def notice(mutant: Mutant, count: int) -> str:
    """What notices the mutant, in a few words; empty if nothing does."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for part in COPIED:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / part)
        module = copy / "benchmark" / f"{mutant.module}.py"
        text = module.read_text()
        assert mutant.old in text, f"{mutant.title}: not found in {module.name}"
        module.write_text(text.replace(mutant.old, mutant.new))
        faults = python(copy, "tests.faults", "--count", str(count), "--first")
        if faults.returncode:
            found = re.search(r"after (\[.*?\]): \w+: (.*)", faults.stdout)
            return f"after {found[1]}: {found[2][:70]}" if found else "an undisturbed run"
        tests = python(copy, "pytest", "-x", "-q", *TESTS)
        found = re.search(r"^FAILED (\S+)", tests.stdout, re.MULTILINE)
        return found[1] if found else ""


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
