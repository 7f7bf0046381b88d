"""The trade-off of a fine-tuning task, and the landscapes that it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from benchmark import registry
from benchmark.display import canvas, style
from benchmark.display.chart import Chart, Panel, Series
from benchmark.display.figures import describe
from benchmark.display.kinds import tradeoff
from benchmark.study.model import Metric, Study
from tasks.base import LANDSCAPES, Candidate

Make = Callable[..., Study]
TASK, PER_CLASS = "finetune/digits", "finetune/mnist-per-class"
REWARD = Metric("r1", "E[r1]", higher_is_better=True)
STRENGTHS = np.geomspace(0.01, 100, 13)


def landscape() -> dict[str, Any]:
    """E[r1] is 0.6 at best (lambda = 1), 0.2 at the weak end and -7.4 at the strong end."""
    places = np.log10(STRENGTHS)
    reward = 0.6 - np.where(places < 0, 2.0, 0.1) * places**2
    points = [
        {"lambda": strength, "r1": up, "r2": 2 - place, "fid": 1 + strength}
        for strength, place, up in zip(STRENGTHS.tolist(), places, reward, strict=True)
    ]
    return {"evaluator": {"samples": 2000, "weights": {"net": "abc"}}, "points": points}


def with_landscape(study: Study) -> Study:
    facts = {name: {**facts, "landscape": landscape()} for name, facts in study.task_facts.items()}
    return replace(study, task_facts=facts)


def described(study: Study, task: str = TASK) -> Chart:
    chart = describe(study, "tradeoff", task)
    assert chart is not None
    return chart


def line(panel: Panel) -> Series:
    return next(series for series in panel.series if series.look == tradeoff.LINE)


def test_one_strength_has_two_panels_with_the_landscape(make_results: Make) -> None:
    chart = described(with_landscape(make_results()))
    left, right = chart.panels
    assert left.x.label.startswith("λ")
    assert right.x.label == "E[r2] ↑"
    assert left.x.log
    for panel, x in ((left, STRENGTHS), (right, 2 - np.log10(STRENGTHS))):
        np.testing.assert_allclose(line(panel).x, x)
    assert "n = 3 seeds: mean (geometric on a log axis), bars from the smallest" in chart.note
    assert "13 stored strengths" in chart.note


def test_a_strength_per_class_has_the_second_panel_only(make_results: Make) -> None:
    study = with_landscape(make_results(tasks=4))
    facts = study.task_facts[PER_CLASS]
    assert describe(study, "tradeoff", PER_CLASS) is None  # no second metric
    facts = {**facts, "metrics": [*facts["metrics"], {"name": "fid", "log": True}]}
    study = replace(study, task_facts={**study.task_facts, PER_CLASS: facts})
    rewards = study.frame[(study.frame["task"] == PER_CLASS) & (study.frame["metric"] == "r1")]
    fids = rewards.assign(metric="fid", value=np.exp(rewards["value"]))
    chart = described(replace(study, frame=pd.concat([study.frame, fids])), PER_CLASS)
    assert len(chart.panels) == 1
    assert chart.panels[0].x.log
    assert "all classes at the same one" in chart.note


def test_without_a_landscape_there_is_no_line(make_results: Make) -> None:
    chart = described(make_results(methods=("default",), seeds=1))
    assert "n = 1 seed. No landscape is stored for this task." in chart.note
    assert tradeoff.LINE not in chart.looks


def test_other_families_have_no_tradeoff(make_results: Make) -> None:
    assert describe(with_landscape(make_results(tasks=1)), "tradeoff", "schedule/digits") is None


def test_a_landscape_by_another_evaluator_is_not_shown(make_results: Make) -> None:
    study = with_landscape(make_results())

    def seen(evaluator: dict[str, Any]) -> bool:
        facts = {TASK: {**study.task_facts[TASK], "evaluator": evaluator}}
        return replace(study, task_facts=facts).task(TASK).landscape is not None

    assert seen({})
    assert seen({"samples": 500, "weights": {"net": "abc"}})
    assert not seen({"samples": 2000, "weights": {"net": "def"}})


def test_final_values_are_of_the_last_evaluated_incumbent(make_results: Make) -> None:
    study = make_results(methods=("grid", "bilevel"), events=5)
    frame, runs = study.frame, study.runs
    frame = frame[frame["task"] == TASK].copy()
    mine = frame["method"] == "bilevel"
    last = mine & (frame["event"] == 4)
    frame = frame[~(last & (frame["seed"] == 0) & frame["metric"].isin(["r1", "r2", "fid"]))]
    frame.loc[last & (frame["seed"] == 1) & (frame["metric"] == "r1"), "value"] = np.nan
    runs.loc[(runs["method"] == "grid") & (runs["seed"] == 2), "status"] = "failed"
    study = replace(study, frame=frame)
    strength = Metric("param:lambda", "λ", log=True)
    finals = tradeoff.final_values(study.task(TASK), [REWARD, strength])
    kept = [("bilevel", 0), ("bilevel", 2), ("grid", 0), ("grid", 1)]
    assert sorted(finals.index) == kept
    for seed, event in ((0, 3), (2, 4)):  # the last one evaluated; seed 1 ended diverged
        rows = frame[mine[frame.index] & (frame["seed"] == seed) & (frame["event"] == event)]
        values = rows.set_index("metric")["value"]
        assert finals.loc[("bilevel", seed), "r1"] == values["r1"]
        assert finals.loc[("bilevel", seed), "param:lambda"] == values["param:lambda"]


def test_a_mark_is_a_mean_with_the_range_of_its_seeds(make_results: Make) -> None:
    study = make_results(methods=("default", "bilevel"), seeds=4)
    panel = described(study).panels[1]
    finals = tradeoff.final_values(study.task(TASK), [REWARD, Metric("r2", "E[r2]")])
    for series in panel.series:
        own = finals.loc[[series.look]]
        assert series.y[0] == pytest.approx(own["r1"].mean())
        assert series.x[0] == pytest.approx(own["r2"].mean())
        assert series.left is not None
        assert series.right is not None
        assert (series.left[0], series.right[0]) == (own["r2"].min(), own["r2"].max())


def test_the_axis_leaves_out_the_over_optimised_end_and_says_so(make_results: Make) -> None:
    for panel in described(with_landscape(make_results())).panels:
        assert -2 < panel.y.low < 0.2
        assert 0.6 < panel.y.high < 1
        assert "λ = 0.01 (-7.40)" in panel.remark


@pytest.mark.parametrize("methods", [1, 14])
def test_texts_stay_on_the_page(make_results: Make, methods: int) -> None:
    names = ["bilevel", *(f"method-{number}" for number in range(methods - 1))]
    chart = described(with_landscape(make_results(methods=names, seeds=2)))
    with style.applied():
        figure = canvas.figure(chart)
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw_without_rendering()
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("file", sorted(LANDSCAPES.glob("*.json")), ids=lambda file: file.stem)
def test_stored_landscapes_fit_their_tasks(file: Path) -> None:
    name = json.loads(file.read_text())["task"]
    task = registry.task(name)
    assert file.stem == name.replace("/", "-")
    stored = task.landscape()
    assert stored is not None
    variable = task.space.variables[0]
    strengths = [point["lambda"] for point in stored["points"]]
    assert (strengths[0], strengths[-1]) == (variable.low, variable.high)
    assert strengths == sorted(strengths)
    for point in stored["points"]:
        assert set(point) == {"lambda", *(metric.name for metric in task.metrics)}


@pytest.mark.parametrize("name", ["finetune/gaussian", "finetune/digits"])
def test_stored_landscapes_are_what_the_tasks_say(name: str) -> None:
    task = registry.task(name)("cpu")
    task.setup()
    stored = task.landscape()
    assert stored is not None
    assert stored["evaluator"] == task.evaluator()
    point = next(point for point in stored["points"] if point["lambda"] == 1.0)
    candidate = Candidate({variable.name: 1.0 for variable in task.space.variables})
    found = task.evaluate(candidate, stored["seed"])
    for metric in task.metrics:
        assert found[metric.name] == pytest.approx(point[metric.name], rel=0.02), metric.name


def test_a_task_without_a_stored_landscape_has_none() -> None:
    assert registry.task("schedule/digits").landscape() is None
