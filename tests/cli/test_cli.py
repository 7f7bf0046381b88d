"""The command line as a user meets it, away from the checkout.

Runs are processes of their own; what only reads, lists or refuses is called in this one."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

import methods
from benchmark import registry
from benchmark.contract.methods import essence
from benchmark.runs.log import effective_steps
from tests.commands import benchmark

SUITE = """
seeds = 2
[[tasks]]
name = "finetune/gaussian"
budget = 0.0001
[[tasks]]
name = "schedule/gaussian"
budget = 0.0001
[[methods]]
name = "random"
[[methods]]
name = "default"
[[methods]]
name = "bilevel"
"""


PROGRAM = (sys.executable, "-m", "benchmark")
UNDRAWN = (sys.executable, str(Path(__file__).parents[1] / "engine/undrawn.py"))
"""The same, less the figures at the end of a run."""


def program(
    *arguments: str, cwd: Path, code: int = 0, start: Sequence[str] = PROGRAM, **variables: str
) -> str:
    """What a process prints."""
    done = subprocess.run(
        [*start, *arguments], cwd=cwd, capture_output=True, text=True, env=os.environ | variables
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards which classes were added."""
    monkeypatch.setattr(registry, "_added", {base: {} for base in registry._added})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("away")
    (path / "mini.toml").write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def finished(folder: Path) -> str:
    """Output of a whole run on two workers."""
    return program(
        "run", "--all", "--suite", "mini.toml", "--clock", "priced", "--workers", "2", cwd=folder
    )


def frame(folder: Path, results: str = "results") -> pd.DataFrame:
    return pd.read_parquet(folder / results / "mini" / "frame.parquet")


def heavy_imports(*arguments: str, cwd: Path) -> str:
    """Which of the modules that take long to import a command does import."""
    code = (
        f"import sys; sys.argv = ['benchmark', *{arguments}]\n"
        "from benchmark.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'optuna', 'skopt'} & set(sys.modules)\n"
        "print('imported:', *sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("imported:")[2].strip()


def test_help_imports_nothing_that_takes_long(tmp_path):
    assert heavy_imports("--help", cwd=tmp_path) == ""


def test_a_run_leaves_frame_tables_and_figures(folder, finished):
    assert "[12/12]" in finished
    results = folder / "results" / "mini"
    stored = frame(folder)
    assert set(stored.method) == {"random", "default", "bilevel"}
    assert set(stored.task) == {"finetune/gaussian", "schedule/gaussian"}
    figures = {path.name for path in (results / "figures").iterdir()}
    assert {"anytime.png", "anytime.pdf", "anytime.svg"} <= figures
    assert any(path.suffix == ".tex" for path in (results / "tables").iterdir())
    page = (results / "report.html").read_text()
    assert all(f"<h2>{task}</h2>" in page for task in stored.task.unique())
    assert "python -m benchmark run --all --suite mini.toml" in page


def test_finished_runs_are_not_run_again(folder, finished, undrawn):
    before = (folder / "results/mini/frame.parquet").read_bytes()
    again = benchmark("run", "--all", "--suite", "mini.toml", "--clock", "priced", cwd=folder)
    assert "12 runs, 0 to do" in again
    assert (folder / "results/mini/frame.parquet").read_bytes() == before


MEASURED = {"time", "pid", "host", "wall", "peak_memory_mb", "changed"}
"""Keys of a log whose values differ from one run to its repetition under the priced clock; other
threads of a worker draw from Python's global generator, which `changed` then names."""


def logs(folder: Path, results: str = "results") -> dict[str, list[dict]]:
    """The log of each run, less what is measured."""

    def read(line: str) -> dict:
        return json.loads(line, object_hook=lambda x: {k: x[k] for k in x if k not in MEASURED})

    runs = folder / results / "mini" / "runs"
    return {
        str(log.parent.relative_to(runs)): [read(line) for line in log.read_text().splitlines()]
        for log in sorted(runs.rglob("events.jsonl"))
    }


def steps(folder: Path) -> dict[str, list[dict]]:
    """What two runs of one seed share, one of which may have been interrupted."""
    return {
        run: [essence(step) for step in effective_steps(records)]
        for run, records in logs(folder).items()
    }


def test_one_process_and_two_workers_give_the_same_logs(folder, finished):
    program(
        "run", "--all", "--suite", "mini.toml", "--clock", "priced", "--workers", "0",
        "--results", "here", cwd=folder, start=UNDRAWN, OMP_NUM_THREADS="2",
        OPENBLAS_NUM_THREADS="2",
    )  # fmt: skip
    pd.testing.assert_frame_equal(frame(folder), frame(folder, "here"))
    assert len(logs(folder)) == 12
    assert logs(folder) == logs(folder, "here")


def test_tables_and_figures_come_from_stored_results_alone(folder, finished, tmp_path):
    moved = tmp_path / "results"
    subprocess.run(["cp", "-r", folder / "results", moved], check=True)
    for kind in ("figures", "tables"):
        subprocess.run(["rm", "-r", moved / "mini" / kind], check=True)
    small = ("--format", "svg")  # tests of figures draw all formats twice
    benchmark("plot", "--suite", "mini", "--results", str(moved), *small, cwd=tmp_path)
    benchmark("table", "--suite", "mini", "--results", str(moved), cwd=tmp_path)
    page = (moved / "mini" / "report.html").rename(tmp_path / "first.html").read_bytes()
    benchmark("report", "--suite", "mini", "--results", str(moved), cwd=tmp_path)
    assert (moved / "mini" / "report.html").read_bytes() == page
    for kind, files in (("figures", "*.svg"), ("tables", "*")):
        old, new = folder / "results/mini" / kind, moved / "mini" / kind
        assert {path.name for path in old.glob(files)} == {path.name for path in new.iterdir()}
        for path in old.glob(files):
            assert path.read_bytes() == (new / path.name).read_bytes(), path.name


def test_status_shows_every_run(folder, finished):
    shown = benchmark("status", "--suite", "mini", cwd=folder)
    assert shown.count("finished") == 13
    assert "12 finished" in shown
    assert heavy_imports("status", "--suite", "mini", cwd=folder) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "--all"),
        (("run", "--all", "--suite", "quik"), "did you mean 'quick'"),
        (("run", "--task", "finetune/gausian"), "did you mean 'finetune/gaussian'"),
        (("run", "--task", "schedule/mnst"), "did you mean 'schedule/mnist'"),
        (("run", "--method", "radnom"), "did you mean 'random'"),
        (("run", "--all", "--budget", "-3"), "positive number of GPU-hours"),
        (("run", "--all", "--budget", "1e-12"), "no trial"),
        (("run", "--all", "--seeds", "0"), "at least 1"),
        (("run", "--all", "--device", "tpu"), "cpu or cuda"),
        (("run", "--all", "--device", "cudas"), "cpu or cuda"),
        (("check", "random", "--device", "tpu"), "cpu or cuda"),
        (("run", "--method", "missing.py"), "no such file"),
        (("info", "bilevle"), "did you mean 'bilevel'"),
        (("list", "things"), "things"),
        (("table", "--suite", "never-run"), "holds no runs"),
        (("report", "--suite", "never-run"), "holds no runs"),
        (("check", "radnom"), "did you mean 'random'"),
        (("new-method", "Bad Name"), "lower-case"),
        (("new-method", "random"), "already"),
    ],
)
def test_bad_input_is_refused_before_any_work(tmp_path, arguments, message):
    output = benchmark(*arguments, cwd=tmp_path, code=2)
    assert message in " ".join(output.split())
    assert not (tmp_path / "results").exists()


def test_a_refusal_is_one_line_of_the_program(tmp_path):
    output = program("run", "--all", "--budget", "1e-12", cwd=tmp_path, code=2)
    assert len(output.splitlines()) == 1
    assert output.startswith("error: ")


@pytest.mark.parametrize(("name", "hint"), [("mni", "did you mean 'mini'"), ("x", "runs of mini")])
def test_a_suite_without_runs_is_told_of_those_with_some(folder, finished, name, hint):
    for command in ("status", "table", "plot"):
        output = benchmark(command, "--suite", name, cwd=folder, code=2)
        assert hint in " ".join(output.split())


@pytest.mark.parametrize("kind", ["tasks", "methods", "suites"])
def test_lists_are_readable_by_machines(tmp_path, kind):
    rows = json.loads(benchmark("list", kind, "--json", cwd=tmp_path))
    assert len(rows) > 1
    assert all(row["name"] and row["description"] for row in rows)


@pytest.mark.parametrize("name", ["finetune/gaussian", "bilevel", "random"])
def test_info_describes(tmp_path, name):
    details = json.loads(benchmark("info", name, "--json", cwd=tmp_path))
    assert details["name"] == name
    assert details["citation"]


def test_dry_run_spends_nothing(tmp_path):
    shown = benchmark("run", "--all", "--dry-run", cwd=tmp_path)
    assert "to do" in shown
    assert not (tmp_path / "results").exists()


def test_a_new_method_file_passes_check_and_joins_a_run(tmp_path, undrawn):
    benchmark("new-method", "my-search", "--folder", "new/folder", cwd=tmp_path)
    assert "FAILED" not in benchmark("check", "new/folder/my_search.py", cwd=tmp_path)
    benchmark(
        "run", "--task", "finetune/gaussian", "--method", "new/folder/my_search.py", "--seeds", "1",
        "--budget", "0.0001", "--workers", "0", cwd=tmp_path,
    )  # fmt: skip
    stored = pd.read_parquet(tmp_path / "results/quick/frame.parquet")
    assert set(stored.method) == {"my-search"}


def test_a_new_method_is_not_written_into_an_installed_copy(tmp_path, monkeypatch):
    assert "my-search" not in registry.all_methods()
    monkeypatch.setattr(methods, "__path__", [str(tmp_path / "site-packages/methods")])
    assert "wrote my_search.py" in benchmark("new-method", "my-search", cwd=tmp_path)
    assert (tmp_path / "my_search.py").exists()


def test_check_reports_a_method_that_breaks_the_contract(tmp_path):
    (tmp_path / "careless.py").write_text(
        "import numpy as np\n"
        "from methods.base import Method\n"
        "class Careless(Method):\n"
        "    'Draws from the global generator.'\n"
        "    name, citation = 'careless', '-'\n"
        "    def run(self, problem):\n"
        "        while True:\n"
        "            position = np.random.rand(len(problem.space))\n"
        "            problem.evaluate(problem.space.from_unit(position))\n"
    )
    shown = benchmark("check", "careless.py", cwd=tmp_path, code=1)
    assert "same seed, same run" in shown
    assert "numpy's global seed" in shown


def test_fresh_deletes_only_what_was_chosen(folder, finished, undrawn, tmp_path):
    subprocess.run(["cp", "-r", folder / "results", folder / "mini.toml", tmp_path], check=True)
    kept = tmp_path / "results/mini/runs/finetune/gaussian/default/0/events.jsonl"
    before = kept.read_bytes()
    benchmark(
        "run", "--method", "random", "--suite", "mini.toml", "--clock", "priced", "--fresh",
        "--workers", "0", cwd=tmp_path,
    )  # fmt: skip
    assert kept.read_bytes() == before
    pd.testing.assert_frame_equal(frame(folder), frame(tmp_path))


def test_changed_settings_are_refused(folder, finished, tmp_path):
    subprocess.run(["cp", "-r", folder / "results", folder / "mini.toml", tmp_path], check=True)
    output = benchmark("run", "--all", "--suite", "mini.toml", cwd=tmp_path, code=2)
    assert "clock = 'priced', now 'device'" in output


@pytest.mark.slow
def test_a_suite_killed_at_random_points_ends_as_an_undisturbed_one(folder, finished, tmp_path):
    """Each time it goes on the other way: in the command's own process, or in workers."""
    (tmp_path / "mini.toml").write_text(SUITE)
    arguments = ("run", "--all", "--suite", "mini.toml", "--clock", "priced")
    rng = random.Random(0)
    for workers in ("0", "2", "0", "2"):
        process = subprocess.Popen(
            [*UNDRAWN, *arguments, "--workers", workers], cwd=tmp_path, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _wait_for_runs(tmp_path, process)
        time.sleep(rng.uniform(0, 2))
        _kill_group(process)
    program(*arguments, "--workers", "0", cwd=tmp_path, start=UNDRAWN)
    pd.testing.assert_frame_equal(frame(folder), frame(tmp_path))
    assert steps(folder) == steps(tmp_path)


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(folder, finished, tmp_path):
    (tmp_path / "mini.toml").write_text(SUITE)
    arguments = ("run", "--all", "--suite", "mini.toml", "--clock", "priced", "--workers", "1")
    process = subprocess.Popen(
        [*UNDRAWN, *arguments], cwd=tmp_path, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_hear_ctrl_c,
    )  # fmt: skip
    _wait_for_runs(tmp_path, process)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal sends: to every process of the job
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    program(*arguments, cwd=tmp_path, start=UNDRAWN)
    pd.testing.assert_frame_equal(frame(folder), frame(tmp_path))


def _hear_ctrl_c() -> None:
    """A shell makes its background jobs deaf to it, and tests may be such a job."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_for_runs(folder: Path, process: subprocess.Popen) -> None:
    """Wait until some run has begun, so that the kill hits work and not an import."""
    for _ in range(600):
        if process.poll() is not None or any(folder.rglob("events.jsonl")):
            return
        time.sleep(0.1)


def _kill_group(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
