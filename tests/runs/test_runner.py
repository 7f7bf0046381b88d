import dataclasses
import subprocess
import sys

import pytest

from benchmark import launch, registry
from benchmark.files import BadResults, read_json
from benchmark.runs import runner
from benchmark.runs.design import planned
from benchmark.runs.folder import ending
from benchmark.runs.runner import execute, standing
from benchmark.runs.spec import SpecMismatch
from benchmark.runs.watches import ProcessorWatch, Stopwatch
from benchmark.study import results
from benchmark.study.frame import COLUMNS


def test_ledgers_add_up_to_the_processor_time_of_the_run(toy_spec):
    spec = toy_spec("optuna-tpe", clock="device", budget=0.3 / 3600)
    watch = ProcessorWatch()
    execute(spec)
    measured = watch.lap()
    clock = spec.folder.events()[-1]["clock"]
    assert sum(clock["ledgers"].values()) == pytest.approx(measured, rel=0.1, abs=0.1)
    assert sum(clock["breakdown"].values()) == pytest.approx(clock["ledgers"]["method"])
    assert clock["breakdown"]["overhead"] > 0


def test_a_continued_run_adds_to_its_ledgers_and_wall_time(toy_spec):
    spec = toy_spec(clock="device", budget=0.1 / 3600)
    watch, stopwatch = ProcessorWatch(), Stopwatch()
    execute(spec)
    execute(dataclasses.replace(spec, budget=0.2 / 3600))
    measured, wall = watch.lap(), stopwatch.lap()
    first, last = (event for event in spec.folder.events() if event["kind"] == "end")
    total = sum(last["clock"]["ledgers"].values())
    assert total == pytest.approx(measured, rel=0.1, abs=0.1)
    assert first["clock"]["wall"] < last["clock"]["wall"] <= wall


def test_a_run_says_where_it_comes_from(toy_spec):
    spec = toy_spec()
    execute(spec)
    stored = read_json(spec.folder.description)
    assert stored["space_hash"] == runner.registry.task(spec.task).space.hash
    assert stored["provenance"]["device"].startswith("cpu")
    assert stored["provenance"]["versions"]["torch"]
    assert stored["spec"]["seed"] == 0


def test_finished_means_for_this_budget_and_these_settings(toy_spec):
    spec = toy_spec()
    assert standing(spec) == "missing"
    execute(spec)
    assert standing(spec) == "finished"
    assert standing(dataclasses.replace(spec, budget=spec.budget / 2)) == "finished"
    assert standing(dataclasses.replace(spec, budget=spec.budget * 2)) == "interrupted"
    with pytest.raises(SpecMismatch, match="fidelity"):
        standing(dataclasses.replace(spec, options={"fidelity": 0.5}))


def test_a_run_in_use_is_left_alone(toy_spec):
    spec = toy_spec()
    with spec.folder.owned():
        assert execute(spec).status == "busy"


def test_a_failed_run_keeps_its_reason_and_traceback(toy_spec, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("no heat")

    monkeypatch.setattr(runner.registry.task(toy_spec().task), "score", broken)
    spec = toy_spec()
    outcome = execute(spec)
    assert (outcome.status, outcome.reason) == ("failed", "RuntimeError: no heat")
    assert ending(spec.folder)[0] == "failed"
    assert "no heat" in spec.folder.error.read_text()


def test_loaded_results_hold_what_the_log_holds(toy_spec):
    for method in ("random", "default"):
        execute(toy_spec(method))
    loaded = results.load(toy_spec().folder.path.parents[4])
    assert set(loaded.methods) == {"random", "default"}
    assert set(loaded.runs.status) == {"finished"}
    frame = loaded.frame
    assert list(frame.columns) == list(COLUMNS)
    delivered = frame[(frame.method == "random") & (frame.metric == "distance")]
    assert delivered.incumbent.all()
    assert (frame.gpu_hours.diff().dropna() >= 0).sum() > 0
    assert loaded.runs.tile.tolist() == [4, 4]
    assert (loaded.runs.wall_s > 0).all()


def test_plan_grows_with_what_is_asked_for(toy_spec, tmp_path):
    folder = tmp_path / "suite"
    one, other = toy_spec("random"), toy_spec("default")
    launch.record_plan(folder, [one])
    launch.record_plan(folder, [other])
    assert planned(folder) == ((one.task, "random"), (one.task, "default"))
    (folder / "plan.json").write_text('[["a"]]')
    with pytest.raises(BadResults, match=r"plan\.json"):
        planned(folder)


def test_executing_a_run_needs_no_pandas_and_nothing_that_shows_results():
    heavy = ("pandas", "matplotlib", "distributed", "benchmark.study", "benchmark.engine")
    code = f"import sys, benchmark.runs.runner; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_library_draws_when_it_loads_is_no_fault_of_the_method(
    toy_spec, tmp_path, monkeypatch
):
    (tmp_path / "drawing_library.py").write_text("import random\nrandom.random()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry.method("random"), "libraries", ("drawing_library",))
    spec = toy_spec()
    assert execute(spec).status == "finished"
    assert "drawing_library" in sys.modules
    assert "changed" not in spec.folder.events()[-1]
