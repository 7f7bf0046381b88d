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
        ("runs", "store"),
        ("benchmark", "bad_input"),
        ("runs", "problem"),
        ("runs", "runner"),
        ("runs", "watchdog"),
        ("runs", "clock"),
    )
]
"""Tests that are run on a mutant which no fault notices."""


@dataclass(frozen=True)
class Mutant:
    """One edit: every `old` in a module of the harness becomes `new`."""

    title: str
    module: str
    old: str
    new: str


MUTANTS = (
    Mutant("a torn last line stays", "runs/folder", "os.truncate(self.log, length)", "pass"),
    Mutant("a write that failed leaves its part", "runs/folder", "file.truncate(length)", "pass"),
    Mutant(
        "whole files are written in place",
        "files",
        'with open(temporary, "wb") as file:\n            file.write(data)\n'
        "            file.flush()\n            os.fsync(file.fileno())\n"
        "        os.replace(temporary, path)\n",
        'with open(path, "wb") as file:\n            file.write(data)\n',
    ),
    Mutant("the lock is ignored", "runs/folder", "lock.acquire(timeout=LOCK_TIMEOUT)", "pass"),
    Mutant("a rewind is ignored", "runs/log", 'record["kind"] == "rewind"', "False"),
    Mutant("no record is forced to disk", "runs/folder", "os.fsync(file.fileno())", "pass"),
    Mutant("no whole file is forced to disk", "files", "os.fsync(file.fileno())", "pass"),
    Mutant(
        "a damaged checkpoint is an error",
        "runs/checkpoint",
        "except Exception:  # a damaged file raises anything\n        return None",
        "except ZeroDivisionError:\n        return None",
    ),
    Mutant(
        "a checkpoint of more steps than the log is taken",
        "runs/journal",
        ' or saved["steps"] > len(self.steps)',
        "",
    ),
    Mutant(
        "the generator is not restored",
        "runs/recorder",
        'self._rng.bit_generator.state = saved["rng"]',
        "pass",
    ),
    Mutant(
        "the count of trials is not restored", "runs/recorder", 'self.trials = saved["trials"]', ""
    ),
    Mutant(
        "the last evaluation is not restored",
        "runs/recorder",
        'self._evaluated_at = saved["evaluated_at"] / self._clock.budget',
        "",
    ),
    Mutant(
        "the log is not rewound to the checkpoint",
        "runs/journal",
        'self.append({"kind": "rewind", "to": steps})',
        "pass",
    ),
    Mutant(
        "a replay is charged",
        "runs/recorder",
        "self._clock.rewind(NOTHING_CHARGED)  # progress is replayed from its start too",
        'self._clock.switch("method")',
    ),
    Mutant(
        "charged time is not replayed",
        "runs/recorder",
        'self._clock.rewind(record["clock"])',
        "pass",
    ),
    Mutant(
        "the incumbent is not replayed",
        "runs/recorder",
        "self._note(record)\n        self._clock.rewind",
        "self._clock.rewind",
    ),
    Mutant(
        "an infinite score becomes the incumbent",
        "runs/recorder",
        "deliver and math.isfinite(score) and score",
        "deliver and score",
    ),
    Mutant(
        "counts of work are not replayed",
        "runs/clock",
        'self.work = Counter(snapshot["work"])',
        "pass",
    ),
    Mutant(
        "what a session cut off is charged as well",
        "runs/journal",
        'ledgers["method"] = charged',
        "pass",
    ),
    Mutant(
        "finished runs are done again",
        "launch",
        '("finished",) if retry else ("finished", "failed")',
        '() if retry else ("failed",)',
    ),
    Mutant(
        "failed runs are tried again unasked",
        "launch",
        'else ("finished", "failed")',
        'else ("finished",)',
    ),
    Mutant(
        "a failure counts as finished",
        "runs/runner",
        'status = "failed"\n',
        'status = "finished"\n',
    ),
    Mutant(
        "a failure ends the command",
        "runs/runner",
        "except (Exception, SystemExit, RunEnded) as error:",
        "except ZeroDivisionError as error:",
    ),
    Mutant(
        "sys.exit of a method ends the command",
        "runs/runner",
        "(Exception, SystemExit, RunEnded)",
        "(Exception, RunEnded)",
    ),
    Mutant(
        "a method can hide an error of its task",
        "runs/spec",
        "class RunEnded(BaseException)",
        "class RunEnded(Exception)",
    ),
    Mutant(
        "a full disk is a failure of the run",
        "runs/runner",
        "if isinstance(fault, StorageError):",
        "if False:",
    ),
    Mutant(
        "the reason of a failure is as long as it likes",
        "runs/spec",
        "REASON_LENGTH = 500",
        "REASON_LENGTH = 10**9",
    ),
    Mutant("there is no watchdog", "runs/watchdog", "> limit:", "> 1e9:"),
    Mutant(
        "a hang is forgotten",
        "runs/folder",
        "if reason and last_session",
        "if not reason and last_session",
    ),
    Mutant(
        "SIGTERM is not heard",
        "engine/stopping",
        "(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)",
        "(signal.SIGINT, signal.SIGHUP)",
    ),
    Mutant(
        "prices change with the session",
        "runs/runner",
        'journal.description["spec"]["prices"] if journal.description else spec.prices',
        "{k: v * 1.01 for k, v in spec.prices.items()} if journal.description else spec.prices",
    ),
)


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
    """The fault or test that notices the mutant, in a few words; empty if none does."""
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
        tests = python(copy, "pytest", "-x", "-q", "-m", "", *TESTS)
        found = re.search(r"^FAILED (\S+)", tests.stdout, re.MULTILINE)
        return found[1] if found else ""


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


if __name__ == "__main__":
    sys.exit(main())
