"""What is delivered is checked before it is evaluated, by a task that the method does not hold."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import registry
from benchmark.runs.clock import PricedClock
from benchmark.runs.judge import Judge, finite, png_grid
from benchmark.runs.runner import execute
from benchmark.study.model import Study
from methods.base import Method
from tasks.base import Candidate, Metric
from tasks.finetune.rewards import Rewards
from tasks.schedule.gaussian import ScheduleGaussian


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_are_found_wherever_they_are(bad):
    tensor = torch.tensor([1.0, bad])
    for value in (bad, [1.0, bad], {"a": {"b": tensor}}, Rewards(tensor, torch.ones(2))):
        assert not finite(value)
    assert finite({"weights": {"a": torch.ones(2)}, "steps": 3, "name": "x", "none": None})


@pytest.fixture
def delivered() -> Candidate:
    task = ScheduleGaussian()
    task.setup()
    levels = task.sampling_levels(task.position(task.space.default))
    return task.candidate(task.begin(0).net, task.space.default, levels=levels)


@pytest.fixture
def judge(tmp_path, toy_spec) -> Judge:
    task = ScheduleGaussian()
    task.setup()
    prices = dict.fromkeys(("denoise", "frechet"), 1e-6)
    folder = toy_spec().folder
    folder.artifacts.mkdir(parents=True)
    return Judge(task, PricedClock(1, prices), folder, 0)


def test_sampling_levels_that_make_no_sense_are_refused(judge, delivered):
    assert math.isfinite(judge.evaluate(delivered, 0)["fid"])
    delivered.state["levels"][3] = 99.0
    for verify in (judge.check, lambda candidate: judge.evaluate(candidate, 0)):
        with pytest.raises(ValueError, match="sampling levels must increase"):
            verify(delivered)


def test_weights_that_are_not_finite_have_no_metrics(judge, delivered):
    for tensor in delivered.state["weights"].values():
        tensor.fill_(math.nan)
    assert judge.evaluate(delivered, 0) == {}


def test_what_is_set_on_the_working_task_is_not_set_on_the_judge(delivered, toy_spec, judge):
    working = ScheduleGaussian()
    working.setup()
    other = Judge(working, PricedClock(1, dict.fromkeys(("denoise", "frechet"), 1e-6)),
                  toy_spec().folder, 0)  # fmt: skip
    working.evaluate = lambda candidate, seed: {"fid": 0.0}
    assert other.evaluate(delivered, 0) == judge.evaluate(delivered, 0)


def test_a_method_sees_the_problem_and_nothing_behind_it(toy_spec, monkeypatch):
    seen = []

    class Looking(Method):
        name = "looking"

        def run(self, problem):
            seen.extend(dir(problem))
            problem.evaluate(problem.space.default)

    known = registry.all_methods() | {"looking": Looking}
    monkeypatch.setattr(registry, "all_methods", lambda: known)
    assert execute(toy_spec("looking")).status == "finished"
    assert {name for name in seen if not name.startswith("__")} == {
        "space", "rng", "oracles", "progress", "incumbent", "restored", "seed", "evaluate",
        "stages", "develop", "score", "report", "checkpoint",
    }  # fmt: skip


def test_a_grid_has_whole_rows_of_eight_tiles():
    images = np.arange(20, dtype=np.uint8)[:, None, None].repeat(3, 1).repeat(2, 2)
    grid = np.asarray(Image.open(io.BytesIO(png_grid(images))))
    assert grid.shape == (6, 16)
    assert grid[3, ::2].tolist() == list(range(8, 16))


def test_the_last_report_of_a_run_is_measured_further(toy, toy_spec, monkeypatch):
    monkeypatch.setattr(toy, "final_metrics", (Metric("far", "far"),))
    monkeypatch.setattr(toy, "evaluate_final", lambda self, candidate, seed: {"far": 7.0})
    spec = toy_spec("default")
    assert execute(spec).status == "finished"
    (final,) = [record for record in spec.folder.events() if record["kind"] == "final"]
    assert final["metrics"].keys() == {"distance", "far"}
    frame = Study.load(Path(spec.results) / "toy").frame
    (value,) = frame.loc[frame["metric"] == "far", "value"]
    assert value == 7.0
