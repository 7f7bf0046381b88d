"""A training script as a task: small scripts that print, fail, wait and spawn."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark import contract, registry
from benchmark.contract.methods import crash, essence
from benchmark.errors import UserError
from benchmark.runs import calibration
from benchmark.runs.log import effective_steps
from benchmark.runs.runner import execute
from benchmark.suite import SuiteError, load, select
from tasks.command.definition import define
from tasks.command.script import ScriptFailed
from tasks.command.task import CommandTask

PATIENCE = 60.0
SCRIPT = """
import json, os, sys
lr, depth, act, folder = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
for step in range(1, 5):
    print("step", step)
    loss = abs(depth - 3) + (act == "relu") + 1 / step
    print(json.dumps({"step": step, "loss": loss, "test": loss + 10}))
"""
SUITE = """
seeds = 1
[[tasks]]
kind = "command"
name = "command/mine"
run = "python train.py {lr} {depth} {act} {folder}"
metric = "loss"
report = "test"
lines = 4
budget = 0.0005
[tasks.space]
lr = { low = 1e-5, high = 1e-1, log = true, default = 1e-2 }
depth = { low = 1, high = 8, type = "int", default = 2 }
act = { choices = ["relu", "silu", "a b; touch hacked"], default = "relu" }
[[methods]]
name = "random"
"""
PRICES = {"trial": 0.001, "start": 0.01, "line": 0.1}
SPACE = {"x": {"low": 0.0, "high": 1.0, "default": 0.5}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the script and its suite; what is added is forgotten afterwards."""
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "mine.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_added", {base: {} for base in registry._added})
    return tmp_path


@pytest.fixture
def task(folder: Path) -> Callable[..., CommandTask]:
    """A task of one variable x whose script has the given text, in a folder of its own."""

    def make(code: str, **keys: Any) -> CommandTask:
        (folder / "own.py").write_text(f"import json, os, sys, time\nx = sys.argv[1]\n{code}")
        table = {
            "name": "command/own", "run": "python own.py {x}", "metric": "m", "budget": 0.001,
            "space": SPACE,
        }  # fmt: skip
        made = define(table | keys, folder)()
        made.folder = folder / "trial"
        return made

    return make


def specs(**changes: Any) -> list[Any]:
    from dataclasses import replace

    found = load("mine.toml").specs(Path("results"), "priced", "cpu")
    return [replace(spec, prices=PRICES, **changes) for spec in found]


def alive(pid: int) -> bool:
    """Whether a process still works: one that has ended may wait to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.05)


def pids(file: Path) -> Iterator[int]:
    return map(int, file.read_text().split())


def test_a_suite_states_a_script_and_every_part_of_its_space(folder: Path) -> None:
    (spec,) = specs()
    assert execute(spec).status == "finished"
    steps = effective_steps(spec.folder.events())
    assert steps[0]["params"] == {"lr": 0.01, "depth": 2.0, "act": 0.0}
    assert steps[0]["score"] == 1 + 1 + 1 / 4
    assert steps[0]["metrics"] == {"test": 12.25, "loss": 2.25}
    seen = {step["params"]["act"] for step in steps}
    assert seen <= {0.0, 1.0, 2.0}
    first = spec.folder.trials / "000001"
    said = json.loads((first / "trial.json").read_text())
    assert said["values"] == {"lr": 0.01, "depth": 2, "act": "relu"}
    assert said["command"] == ["python", "train.py", "0.01", "2", "relu", str(first)]
    assert (first / "stdout.txt").read_text().startswith("step 1\n{")


def test_values_are_words_and_no_text_of_a_shell(folder: Path) -> None:
    made = registry.task(f"{folder}/mine.toml::command/mine")()
    made.folder = folder / "trial"
    (candidate,) = made.iterate({"lr": 0.1, "depth": 3.0, "act": 2.0}, (1.0,), 0)
    assert candidate.state == {"loss": 0.25, "test": 10.25}
    command = json.loads((folder / "trial/trial.json").read_text())["command"]
    assert command[4] == "a b; touch hacked"
    assert not list(folder.rglob("hacked"))


def test_stops_are_shares_of_the_lines_and_one_is_the_end(task) -> None:
    made = task("for i in range(4): print(json.dumps({'m': i}))", lines=4)
    assert made.fidelities
    stops = (0.1, 0.25, 0.5, 0.75, 1.0)
    found = [candidate.state["m"] for candidate in made.iterate({"x": 0.5}, stops, 0)]
    assert found == [0, 0, 1, 2, 3]


def test_a_trial_that_is_abandoned_is_ended(task, folder: Path) -> None:
    made = task(
        "print(json.dumps({'m': 1}))\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)",
        lines=2,
    )
    trial = made.iterate({"x": 0.25}, (0.5, 1.0), 0)
    assert next(trial).state == {"m": 1.0}
    wait_until((folder / "pid").exists)
    trial.close()
    assert not any(map(alive, pids(folder / "pid")))


STUBBORN = """
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
open("pids.new", "w").write(f"{os.getpid()} {child.pid}")
os.rename("pids.new", "pids")
while True:
    pass
"""


def test_the_end_of_the_budget_leaves_no_process(folder: Path) -> None:
    """Neither a script that ignores TERM nor what it has started; its time has been charged."""
    (folder / "train.py").write_text("import os\n" + STUBBORN)
    (spec,) = specs(clock="device", budget=0.5 / 3600)
    outcome = execute(spec)
    assert (outcome.status, outcome.reason) == ("finished", "budget")
    assert not any(map(alive, pids(folder / "pids")))
    end = spec.folder.events()[-1]["clock"]
    assert end["breakdown"]["line"] > 0.4
    assert [event["kind"] for event in spec.folder.events()] == ["start", "unfinished", "end"]


TUNER = """
from pathlib import Path
from tasks.kinds import from_suite
task = from_suite(Path("mine.toml"), "command/mine")()
list(task.iterate(task.space.default, (1.0,), 0))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_script_does_not_outlive_the_process_that_started_it(folder: Path, number: int) -> None:
    """Also where that had no time to end it."""
    (folder / "train.py").write_text(
        "import os\n" + STUBBORN.replace("SIG_IGN", "SIG_DFL").replace("pass", "child.wait()")
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    tuner = subprocess.Popen(
        [sys.executable, "-c", TUNER], env=environment, stderr=subprocess.DEVNULL,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    wait_until(lambda: (folder / "pids").exists() or tuner.poll() is not None)
    found = list(pids(folder / "pids"))
    assert all(map(alive, found))
    os.killpg(tuner.pid, number)  # as a terminal does
    assert tuner.wait(PATIENCE) != 0
    wait_until(lambda: not any(map(alive, found)))


def test_a_resumed_run_replays_its_trials_without_the_script(folder: Path) -> None:
    """And ends as an undisturbed one."""
    (whole,) = specs(results=str(folder / "whole"))
    execute(whole)
    (spec,) = specs(results=str(folder / "cut"))
    crash(spec, 30)
    before = effective_steps(spec.folder.events())
    assert before
    written = {
        file: file.stat().st_mtime_ns
        for file in spec.folder.trials.rglob("stdout.txt")
        if int(file.parent.name) <= before[-1]["trial"]
    }
    assert len(written) == len(before)
    assert execute(spec).status == "finished"
    assert all(file.stat().st_mtime_ns == time for file, time in written.items())
    one, other = (
        [essence(step) for step in effective_steps(each.folder.events())] for each in (whole, spec)
    )
    assert one == other


def test_an_interrupted_trial_starts_over_in_a_clean_folder_or_goes_on(task, folder: Path) -> None:
    code = """
resumed = len(sys.argv) > 2
for i in range(2 if resumed else 0, 4):
    print(json.dumps({'m': i}))
    if i == 1:
        time.sleep(600)
"""
    for again, found in (("", [0.0, 1.0]), ("--resume", [0.0, 1.0, 2.0, 3.0])):
        made = task(code, lines=4, **({"resume": again} if again else {}))
        made.folder = folder / f"trial{again}"
        first = made.iterate({"x": 0.25}, (0.5,), 0)
        assert next(first).state == {"m": 1.0}
        first.close()
        stops = tuple((i + 1) / 4 for i in range(len(found)))
        trial = made.iterate({"x": 0.25}, stops, 0)
        assert [next(trial).state["m"] for _ in stops] == found
        trial.close()
    assert (folder / "trial-1/stdout.txt").exists()
    assert not (folder / "trial--resume-1").exists()


@pytest.mark.parametrize(
    ("code", "keys", "message"),
    [
        ("sys.exit('no such data set')", {}, "exit code 1; stderr: no such data set"),
        ("os.kill(os.getpid(), 11)", {}, "it ended with signal 11; stderr: nothing"),
        ("print('loss', 1)", {}, "it printed no JSON line with 'm'"),
        ("print(json.dumps({'m': float('nan')}))", {}, "it printed m = NaN, which is no finite"),
        ("print(json.dumps({'m': 'low'}))", {}, 'it printed m = "low", which is no finite number'),
        ("print(json.dumps({'m': 1}))", {"report": "r"}, "it printed a line without 'r'"),
        ("time.sleep(600)", {"time_limit": 0.3}, "it took more than its time_limit of 0.3 s"),
        ("print('{', '{' * 9999, json.dumps([{'m': 1}]))", {}, "it printed no JSON line"),
        ("", {"run": "sh own.sh {x}"}, "exit code .*; stderr: sh: .*own.sh"),
    ],
)
def test_a_script_that_fails_is_said_in_one_line(task, capsys, code, keys, message) -> None:
    made = task(code, **keys)
    (candidate,) = made.iterate({"x": 0.25}, (1.0,), 0)
    assert math.isnan(made.score(candidate, 0))
    said = capsys.readouterr().out
    assert said.startswith("the script failed at x = 0.25: ")
    assert said.count("\n") == 1
    with pytest.raises(ScriptFailed, match=message):
        list(made.iterate({"x": 0.5}, (1.0,), 0))
    assert not list(made.iterate({"x": 0.25}, (1.0,), 0, progress=lambda: 0.5))


def test_a_trial_that_fails_does_not_end_the_run(folder: Path) -> None:
    (folder / "train.py").write_text(SCRIPT.replace("for", "if depth > 3: sys.exit('deep')\nfor"))
    (spec,) = specs()
    assert execute(spec).status == "finished"
    steps = effective_steps(spec.folder.events())
    scores = {step["params"]["depth"] > 3: step["score"] for step in steps}
    assert scores[True] is None
    assert "the script failed at lr = " in spec.folder.output.read_text()
    assert not any(step["incumbent"] and step["score"] is None for step in steps)


def test_a_default_that_fails_ends_the_run_with_the_reason(folder: Path) -> None:
    (folder / "train.py").write_text("import sys; sys.exit('no such data set')")
    (spec,) = specs()
    outcome = execute(spec)
    assert outcome.status == "failed"
    assert "at lr = 0.01, depth = 2, act = relu: it ended with exit code 1; stderr: no such" in (
        outcome.reason
    )
    assert len(list(spec.folder.trials.iterdir())) == 1


def test_prices_of_a_script_that_fails_are_refused_in_one_line(task) -> None:
    with pytest.raises(UserError, match="command/own has no prices: the script failed") as caught:
        calibration.rehearse(task("sys.exit('no such data set')"), 1)
    assert "no such data set" in str(caught.value)


def test_results_of_a_changed_script_do_not_mix(folder: Path) -> None:
    (spec,) = specs()
    execute(spec)
    (folder / "train.py").write_text(SCRIPT.replace("+ 10", "+ 20"))
    (spec,) = specs(budget=0.001)
    assert "SpecMismatch" in execute(spec).reason


@pytest.mark.parametrize("lines", [1, 4])
def test_the_contract_holds(folder: Path, lines: int) -> None:
    (folder / "mine.toml").write_text(SUITE.replace("lines = 4", f"lines = {lines}"))
    (entry,) = load("mine.toml").tasks
    assert not [found for found in contract.check(entry.file) if found[1]]


def test_methods_that_need_more_than_scores_are_refused_with_the_reason(folder: Path) -> None:
    suite = load("mine.toml")
    with pytest.raises(SuiteError, match="scores of trials alone: bilevel uses rewards") as caught:
        select(suite, methods=["bilevel"])
    assert "\n" not in str(caught.value)
    both = select(suite, methods=["random", "pbt"])
    assert [method.label for _, method in both.pairs()] == ["random"]
    assert list(both.refusals()) == [
        "command/mine gives scores of trials alone: pbt uses scores of networks in training"
    ]
    (folder / "mine.toml").write_text(SUITE.replace("lines = 4", "lines = 1"))
    with pytest.raises(SuiteError, match="scores of whole trials alone: successive-halving uses"):
        select(load("mine.toml"), methods=["successive-halving"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{depth}", "{dept}", "unknown placeholder in run: 'dept'; did you mean 'depth'?"),
        ("{depth} ", "", r"run has no \{depth\}, which \[tasks.space\] has"),
        ("{depth}", "{depth:Q}", "Unknown format code 'Q'"),
        ("{depth}", "{depth.real}", "unknown placeholder in run: 'depth.real'"),
        ("{depth}", "{depth", "expected '}'"),
        ("{depth}", "'{depth}", "No closing quotation"),
        (", default = 2", "", "space.depth needs a default"),
        ("default = 2", "default = 2.5", "variable 'depth': 2.5 is not a whole number"),
        ("default = 2", "default = 9", r"default 9.0 is outside \[1.0, 8.0\]"),
        ('type = "int"', 'type = "integer"', "space.depth: type is 'int' or 'float'"),
        ("low = 1,", "low = '1',", "space.depth: low must be a number, got '1'"),
        ("high = 8", "hihg = 8", "unknown key in space.depth: 'hihg'; did you mean 'high'?"),
        ("low = 1e-5", "low = 0", "a log scale needs low > 0"),
        ('default = "relu"', 'default = "gelu"', "default 'gelu' is not in"),
        ('"silu", "a b; touch hacked"]', "true]", "choices and default must be texts or numbers"),
        ('"silu", "a b; touch hacked"]', "]", "need at least two distinct choices"),
        ("depth =", "seed =", "space.seed: a variable's name is a word, and none of folder"),
        ('metric = "loss"', "", "needs a metric"),
        ('metric = "loss"', 'metric = ""', "metric must be a text, got ''"),
        ('metric = "loss"', 'metric = "loss"\ngoal = "min"', "'minimise' or 'maximise', got 'min'"),
        ("report =", "reprot =", "unknown key 'reprot'; did you mean 'report'?"),
        ("lines = 4", "lines = 0", "lines must be a whole number of at least 1, got 0"),
        ("lines = 4", "time_limit = -1", "time_limit must be a positive number, got -1"),
        ("budget = 0.0005", "", "needs a budget"),
        ("budget = 0.0005", "budget = 'little'", "budget must be a positive number, got 'little'"),
        ("python train.py", "pyhton train.py", "run: there is no program 'pyhton' to start"),
        (
            'kind = "command"',
            'kind = "comand"',
            "'diffusers' or left out, got 'comand'",
        ),
        ("command/mine", "finetune/digits", "there is 'finetune/digits' among the tasks already"),
        ("command/mine", "../mine", "a name is letters, digits"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(folder, old, new, message) -> None:
    assert old in SUITE
    (folder / "mine.toml").write_text(SUITE.replace(old, new))
    with pytest.raises(SuiteError, match=message) as caught:
        load("mine.toml")
    assert str(caught.value).startswith("mine.toml: task '")
    assert "\n" not in str(caught.value)


def test_a_metric_to_maximise_is_a_loss_to_methods_alone(task) -> None:
    made = task("print(json.dumps({'m': 3}))", goal="maximise")
    (candidate,) = made.iterate({"x": 0.5}, (1.0,), 0)
    assert made.score(candidate, 0) == -3
    assert made.evaluate(candidate, 0) == {"m": 3}
    assert made.metrics[0].higher_is_better
