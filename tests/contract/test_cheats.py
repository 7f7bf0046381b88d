"""Methods that cheat: each is refused, charged, or named; docs/protocol.md says what is trusted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark import registry
from benchmark.contract.methods import MethodBench
from benchmark.runs import runner
from benchmark.runs.runner import execute
from benchmark.runs.spec import RunSpec
from methods.base import Method, Problem
from tasks.base import Candidate
from tasks.finetune.gaussian import FinetuneGaussian

TASK = "finetune/gaussian"


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


class InitTrainer(Method):
    """Does its work while it is made."""

    name = "init-trainer"

    def __init__(self, seconds: float = 0.2) -> None:
        task = FinetuneGaussian()
        task.pool(1000, 0)
        burn(seconds)

    def run(self, problem: Problem) -> None:
        problem.report(Candidate(problem.space.default))


class LedgerSwitcher(Method):
    """Books its work to a ledger that is free."""

    name = "ledger"

    def run(self, problem: Problem) -> None:
        with problem.task.meter.enter("setup"):
            problem.oracles.pool(1000, 0)


class Peeker(Method):
    """Selects on the report split."""

    name = "peeker"

    def run(self, problem: Problem) -> None:
        problem.oracles.selection_reference = problem.oracles.report_references[0]


class Liar(Method):
    """Replaces the evaluation of the task it works on."""

    name = "liar"

    def run(self, problem: Problem) -> None:
        problem.oracles.evaluate = lambda candidate, seed: {"reward": 0.0}


class ClassLiar(Method):
    """Replaces the evaluation of the task's class."""

    name = "class-liar"

    def run(self, problem: Problem) -> None:
        FinetuneGaussian.evaluate = lambda self, candidate, seed: {"reward": 0.0}
        problem.report(Candidate(problem.space.default))


class Child(Method):
    """Lets another process work."""

    name = "child"

    def __init__(self) -> None:
        code = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ninput()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.child = subprocess.Popen([sys.executable, "-c", code], **pipes)

    def run(self, problem: Problem) -> None:
        self.child.stdout.readline()
        time.sleep(0.2)
        problem.report(Candidate(problem.space.default))
        self.child.communicate(b"\n")


CHEATS = (InitTrainer, LedgerSwitcher, Peeker, Liar, ClassLiar, Child)


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., RunSpec]:
    known = registry.all_methods() | {cls.name: cls for cls in CHEATS}
    monkeypatch.setattr(registry, "all_methods", lambda: known)

    def make(method: type[Method], **options: object) -> RunSpec:
        return RunSpec("test", TASK, method.name, method.name, 0, 2 / 3600, str(tmp_path), options)

    return make


def charged(spec: RunSpec) -> float:
    seconds: float = spec.folder.events()[-1]["clock"]["ledgers"]["method"]
    return seconds


def test_work_in_the_making_is_charged(spec):
    assert execute(spec(InitTrainer)).status == "finished"
    assert charged(spec(InitTrainer)) >= 0.2


def test_much_work_in_the_making_is_a_fault(spec, monkeypatch):
    monkeypatch.setattr(runner, "SETUP_SECONDS", 0.1)
    outcome = execute(spec(InitTrainer, seconds=0.5))
    assert outcome.status == "failed"
    assert "making init-trainer took" in outcome.reason


@pytest.mark.parametrize("method", [LedgerSwitcher, Peeker, Liar])
def test_what_a_method_is_not_handed_is_not_there(spec, method):
    outcome = execute(spec(method))
    assert outcome.status == "failed"
    assert outcome.reason.startswith("AttributeError")


def test_replaced_code_of_a_task_ends_the_run_and_is_put_back(spec):
    original = FinetuneGaussian.evaluate
    outcome = execute(spec(ClassLiar))
    assert (outcome.status, outcome.reason) == (
        "failed", "ValueError: the method replaced FinetuneGaussian.evaluate"
    )  # fmt: skip
    assert FinetuneGaussian.evaluate is original


def test_processes_are_charged(spec):
    assert execute(spec(Child)).status == "finished"
    assert charged(spec(Child)) >= 0.35


@pytest.mark.parametrize("method", [LedgerSwitcher, Peeker, ClassLiar])
def test_check_names_them(spec, method):
    spec(method)
    assert MethodBench(method.name, TASK, "cpu").ends()
