"""Bad input of every kind ends in one line that names what is wrong, and where."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from suites import GOOD

from benchmark import registry, suite
from benchmark.files import BadResults
from benchmark.registry import BrokenModule, UnknownName
from benchmark.runs import calibration
from benchmark.runs.log import effective_steps
from benchmark.runs.runner import execute
from benchmark.study import results
from benchmark.suite import SuiteError
from methods.base import Method, Problem

# -- suites ---------------------------------------------------------------------------------

SCALARS = (
    "true", "-1", "0", "3", "1e400", "nan", "-inf", "1979-05-27", "07:32:00", '""', '"a"',
    '"../../etc"', '"*"', '"finetune/*"', "[]", "[1, 2]", "[[1]]", "{}", "{ a = 1 }", '"\\u0000"',
    "99999999999999999999999999", '"random"', '["random"]', '[{ name = "random" }]',
)  # fmt: skip
KEYS = ("seeds", "suite_seed", "hard_limit", "description", "name", "budget", "label", "options",
        "tasks", "methods", "levels", "other")  # fmt: skip


def read(path: Path, text: str | bytes) -> None:
    """Load a suite, which may be fine or be refused in one line that names the file."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        loaded = suite.load(str(path))
        specs = loaded.specs(path.parent, "device", "cpu")
        json.dumps([spec.identity() for spec in specs], allow_nan=False)
    except SuiteError as error:
        message = str(error)
    else:
        return
    assert message.startswith(f"{path}: ")
    assert len(message) > len(str(path)) + 10


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_value_of_any_key_of_a_suite_is_taken_or_refused(data, tmp_path):
    lines = GOOD.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        line = f"{data.draw(st.sampled_from(KEYS))} = {data.draw(st.sampled_from(SCALARS))}"
        at = data.draw(st.integers(0, len(lines) - 1))
        if data.draw(st.booleans()):
            lines.insert(at, line)
        else:
            lines[at] = line
    read(tmp_path / "fuzzed.toml", "\n".join(lines))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=3), st.integers(0, 9)))
)
@example(edits=[(0, b"\xff\xfe", 0)])
@example(edits=[(0, b"a" + b"[" * 100_000, 0)])
def test_any_bytes_of_a_suite_are_taken_or_refused(edits, tmp_path):
    content = GOOD.encode()
    for at, inserted, removed in edits:
        content = content[:at] + inserted + content[at + removed :]
    read(tmp_path / "fuzzed.toml", content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds = 2", "seeds = 1000000"), "seeds must be at most"),
        (("hard_limit = 3600", "hard_limit = 0"), "positive number of seconds"),
        (("levels = 9", "levels = nan"), "options"),
        (("levels = 9", "levels = 1979-05-27"), "options"),
        (("budget = 0.001", "budget = 1e300"), "positive number of GPU-hours"),
    ],
)
def test_suites_that_would_fail_later_are_refused(tmp_path, change, message):
    assert change[0] in GOOD
    path = tmp_path / "bad.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(SuiteError, match=message):
        suite.load(str(path))


# -- method files ---------------------------------------------------------------------------

METHOD = """
from methods.base import Method
class Mine(Method):
    'Mine.'
    name, citation = 'mine', '-'
    def run(self, problem):
        problem.evaluate(problem.space.default)
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("def run(self", "def run(self:"), "SyntaxError"),
        (("def run", "def walk"), "class Mine needs a `run` method"),
        (("name, citation = 'mine', '-'", "citation = '-'"), "class Mine needs a `name = "),
        (("class Mine(Method)", "class Mine"), "found none"),
        (("import Method", "import Methode"), "ImportError"),
        (("class Mine", "import sys; sys.exit(3)\nclass Mine"), "SystemExit"),
        (("class Mine", "1 / 0\nclass Mine"), "ZeroDivisionError"),
        (("'mine'", "'../mine'"), "label must be"),
        (("'mine'", "3"), "label must be"),
        (("'mine'", "'random'"), "has a method 'random' already"),
        (("    def run", "    def __init__(self, needed):\n        pass\n    def run"), "needed"),
        (("    def run", "    def __init__(self):\n        raise KeyError(3)\n    def run"), "3"),
        (("    def run", "    def supports(task):\n        1 / 0\n    def run"), "supports"),
        (("    def run", "    \0 def run"), "null bytes"),
    ],
)
def test_method_files_that_cannot_be_used_are_refused(tmp_path, change, message):
    assert change[0] in METHOD
    file, toml = tmp_path / "mine.py", tmp_path / "good.toml"
    file.write_text(METHOD.replace(*change))
    toml.write_text(GOOD)
    with pytest.raises((SuiteError, BrokenModule), match=message) as caught:
        suite.select(suite.load(str(toml)), methods=[str(file)])
    assert "mine" in str(caught.value)


@pytest.mark.parametrize("path", [".", "missing.py", "folder.py"])
def test_what_is_no_method_file_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.py").mkdir()
    with pytest.raises((BrokenModule, UnknownName)):
        registry.method(path)


def test_a_file_that_never_loads_is_given_up(tmp_path):
    (tmp_path / "slow.py").write_text("while True: pass")
    code = (
        "from benchmark import registry\n"
        "registry.PATIENCE = 0.2\n"
        "registry.method('slow.py')"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "slow.py took more than" in done.stderr
    assert "Traceback" not in done.stderr


# -- what a method does ---------------------------------------------------------------------


class Misbehaving(Method):
    """Does what `conduct` says."""

    name = "misbehaving"
    citation = "-"

    def __init__(self, conduct: str = "") -> None:
        self.conduct = conduct

    def run(self, problem: Problem) -> None:
        getattr(self, self.conduct)(problem)

    def leaves_the_space(self, problem: Problem) -> None:
        problem.evaluate({"step_size": 7.0})

    def gives_nan(self, problem: Problem) -> None:
        problem.evaluate({"step_size": float("nan")})

    def gives_other_names(self, problem: Problem) -> None:
        problem.evaluate({"stepsize": 0.1})

    def gives_text(self, problem: Problem) -> None:
        problem.evaluate({"step_size": "small"})  # type: ignore[dict-item]

    def gives_nothing(self, problem: Problem) -> None:
        problem.evaluate(None)  # type: ignore[arg-type]

    def orders_stages_badly(self, problem: Problem) -> None:
        list(problem.stages(problem.space.default, (0.5, 0.2)))

    def never_evaluates(self, problem: Problem) -> None:
        pass

    def leaves(self, problem: Problem) -> None:
        sys.exit(0)

    def goes_on(self, problem: Problem) -> None:
        while problem.progress < 1:
            problem.evaluate(problem.space.default)
        problem.evaluate(problem.space.default)

    def swallows(self, problem: Problem) -> None:
        for _ in range(50):
            try:
                problem.evaluate(problem.space.default)
            except BaseException:
                continue

    def hides_errors(self, problem: Problem) -> None:
        for _ in range(3):
            try:
                problem.evaluate(problem.space.default)
            except Exception:
                continue

    def changes_everything(self, problem: Problem) -> None:
        import os
        import random

        import numpy as np

        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        np.seterr(all="ignore")
        torch.manual_seed(1)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.set_grad_enabled(False)
        os.chdir("/")
        problem.evaluate(problem.space.default)

    def prints(self, problem: Problem) -> None:
        for _ in range(3000):
            print("x" * 1000)
        problem.evaluate(problem.space.default)


@pytest.fixture
def misbehaving(toy_spec, monkeypatch):
    known = registry.all_methods() | {"misbehaving": Misbehaving}
    monkeypatch.setattr(registry, "all_methods", lambda: known)

    def make(conduct: str):
        return toy_spec("misbehaving", options={"conduct": conduct}, budget=0.3 / 3600)

    return make


@pytest.mark.parametrize(
    ("conduct", "reason"),
    [
        ("leaves_the_space", "step_size = 7.0 is outside"),
        ("gives_nan", "step_size = nan is outside"),
        ("gives_other_names", "do not match the space"),
        ("gives_text", "small"),
        ("gives_nothing", "TypeError"),
        ("orders_stages_badly", "must be positive and increasing"),
        ("never_evaluates", "without having evaluated or reported anything"),
        ("leaves", "SystemExit: 0"),
    ],
)
def test_a_method_that_misbehaves_fails_with_the_reason(misbehaving, conduct, reason):
    outcome = execute(misbehaving(conduct))
    assert outcome.status == "failed"
    assert reason in outcome.reason
    assert "Traceback" in outcome.spec.folder.error.read_text()


@pytest.mark.parametrize("conduct", ["goes_on", "swallows"])
def test_nothing_counts_that_comes_after_the_budget(misbehaving, conduct):
    spec = misbehaving(conduct)
    assert execute(spec).status == "finished"
    events = spec.folder.events()
    assert len([event for event in events if event["kind"] == "unfinished"]) <= 1
    assert events[-1]["clock"]["ledgers"]["method"] <= 0.3 + 0.02
    assert len(effective_steps(events)) == 2


def test_a_method_cannot_hide_that_its_task_failed(misbehaving, monkeypatch):
    spec = misbehaving("hides_errors")

    def broken(*arguments):
        raise RuntimeError("no heat")

    monkeypatch.setattr(registry.task(spec.task), "score", broken)
    outcome = execute(spec)
    assert (outcome.status, outcome.reason) == ("failed", "RuntimeError: no heat")


def test_global_settings_are_put_back_and_the_change_is_recorded(misbehaving):
    import os

    before = os.getcwd(), torch.get_default_dtype(), torch.get_num_threads()
    spec = misbehaving("changes_everything")
    assert execute(spec).status == "finished"
    assert (os.getcwd(), torch.get_default_dtype(), torch.get_num_threads()) == before
    assert torch.is_grad_enabled()
    changed = set(spec.folder.events()[-1]["changed"])
    assert {"random's seed", "torch's default dtype", "the working directory"} <= changed
    assert len(changed) == 8


def test_what_a_method_prints_is_kept_apart_and_within_bounds(misbehaving, capsys):
    spec = misbehaving("prints")
    assert execute(spec).status == "finished"
    assert capsys.readouterr().out == ""
    kept = spec.folder.output.read_text()
    assert kept.startswith("xxx")
    assert 2**20 <= len(kept) < 2**20 + 100
    assert kept.endswith("dropped]\n")


# -- stored files ---------------------------------------------------------------------------


@pytest.fixture
def stored(toy_spec):
    """A finished run."""
    spec = toy_spec()
    execute(spec)
    return spec


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", b"{", "run.json is damaged"),
        ("run.json", b"\xff", "run.json is damaged"),
        ("run.json", b"[]", "schema None, this version reads 1"),
        ("run.json", b'{"schema": 0}', "schema 0, this version reads 1"),
        ("run.json", b'{"schema": 1}', "schema 1"),
        ("events.jsonl", b'{"kind": "start"}\nrubbish\n{"kind": "end"}\n', "damaged at line 2"),
        ("events.jsonl", b'3\n{"kind": "end"}\n', "damaged at line 1"),
        ("events.jsonl", b'{"kind": "trial"}\n{"kind": "start"}\n', "no run writes"),
    ],
)
def test_stored_files_that_cannot_be_read_are_named(stored, name, content, message):
    (stored.folder.path / name).write_bytes(content)
    with pytest.raises(BadResults, match=message) as caught:
        results.load(Path(stored.results) / stored.suite)
    assert str(stored.folder.path) in str(caught.value)
    assert "--fresh" in str(caught.value)


@pytest.mark.parametrize("key", ["space_hash", "provenance"])
def test_runs_of_another_space_or_machine_are_not_continued(toy_spec, key):
    spec = toy_spec(clock="device", budget=0.05 / 3600)
    execute(spec)
    found = json.loads(spec.folder.description.read_text())
    found[key] = {"device": "cpu: another"} if key == "provenance" else "0" * 12
    spec.folder.description.write_text(json.dumps(found))
    outcome = execute(toy_spec(clock="device", budget=0.1 / 3600))
    assert outcome.status == "failed"
    assert "do not compare" in outcome.reason
    assert "--fresh" in outcome.reason


class Evil:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_executes_no_code(toy_spec, tmp_path):
    spec = toy_spec("default")
    execute(spec)
    expected = effective_steps(spec.folder.events())
    trap = tmp_path / "sprung"
    torch.save({"owner": Evil(trap)}, spec.folder.checkpoint)
    lines = spec.folder.log.read_bytes().splitlines(keepends=True)
    spec.folder.log.write_bytes(b"".join(lines[:4]))
    assert execute(spec).status == "finished"
    assert not trap.exists()
    found = effective_steps(spec.folder.events())
    assert [step["params"] for step in found] == [step["params"] for step in expected]


@pytest.mark.parametrize("content", ["", "{", '{"prices": 3}', '{"prices": {"step": -1}}'])
def test_damaged_prices_are_measured_again(tmp_path, monkeypatch, content):
    monkeypatch.setattr(calibration, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(calibration, "measure", lambda *arguments: {"step": 1.0})
    calibration.prices("finetune/gaussian", "cpu")
    (file,) = (tmp_path / "prices").iterdir()
    file.write_text(content)
    assert calibration.prices("finetune/gaussian", "cpu") == {"step": 1.0}
