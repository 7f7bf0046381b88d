"""The trade-off of a fine-tuning task, its strip of samples, and the landscapes they show."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from benchmark import registry
from benchmark.display import style
from benchmark.display.figures import layout, strip, tradeoff
from benchmark.display.figures.tradeoff import texts
from benchmark.display.figures.tradeoff import values as shown
from benchmark.study.model import Metric, Study
from tasks.base import LANDSCAPES, Candidate

Make = Callable[..., Study]
TASK, PER_CLASS = "finetune/digits", "finetune/mnist-per-class"
REWARD = Metric("r1", "E[r1]", higher_is_better=True)
STRENGTHS = np.geomspace(0.01, 100, 13)


def landscape(image: Path | None = None) -> dict[str, Any]:
    """E[r1] is 0.6 at best (lambda = 1), 0.2 at the weak end and -7.4 at the strong end."""
    places = np.log10(STRENGTHS)
    reward = 0.6 - np.where(places < 0, 2.0, 0.1) * places**2
    points = [
        {"lambda": strength, "r1": up, "r2": 2 - place, "fid": 1 + strength}
        for strength, place, up in zip(STRENGTHS.tolist(), places, reward, strict=True)
    ]
    return {
        "evaluator": {"samples": 2000, "weights": {"net": "abc"}},
        "points": points,
        "strip": image and {"lambdas": STRENGTHS[::4].tolist(), "rows": 3, "image": str(image)},
    }


def with_landscape(study: Study, image: Path | None = None) -> Study:
    tasks = {
        name: described | {"landscape": landscape(image)}
        for name, described in study.task_facts.items()
    }
    return replace(study, task_facts=tasks)


def drawn(study: Study, task: str = TASK) -> Figure:
    with style.applied():
        figure = tradeoff.draw(study, task)
    assert figure is not None
    return figure


def note(figure: Figure) -> str:
    return figure.get_supxlabel().replace("\n", " ")


def test_one_strength_has_two_panels_with_the_curve(make_results: Make) -> None:
    figure = drawn(with_landscape(make_results()))
    left, right = figure.axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("λ", "E[r2] ↑")
    assert left.get_xscale() == "log"
    for axes, x in ((left, STRENGTHS), (right, 2 - np.log10(STRENGTHS))):
        line = next(line for line in axes.lines if len(line.get_xdata()) == len(STRENGTHS))
        np.testing.assert_allclose(line.get_xdata(), x)
    assert "n = 3 seeds: mean (geometric for λ), bars from the smallest" in note(figure)
    assert "13 strengths (dots)" in note(figure)


def test_a_strength_per_class_has_the_second_panel_only(make_results: Make) -> None:
    study = with_landscape(make_results(tasks=4))
    described = study.task_facts[PER_CLASS]
    assert tradeoff.draw(study, PER_CLASS) is None  # no second metric
    described = described | {"metrics": [*described["metrics"], {"name": "fid", "log": True}]}
    study = replace(study, task_facts=study.task_facts | {PER_CLASS: described})
    rewards = study.frame[(study.frame["task"] == PER_CLASS) & (study.frame["metric"] == "r1")]
    fids = rewards.assign(metric="fid", value=np.exp(rewards["value"]))
    figure = drawn(replace(study, frame=pd.concat([study.frame, fids])), PER_CLASS)
    assert len(figure.axes) == 1
    assert figure.axes[0].get_xscale() == "log"
    assert "all classes at the same strength" in note(figure)


def test_without_a_landscape_there_is_no_curve_and_no_strip(make_results: Make) -> None:
    study = make_results(methods=("default",), seeds=1)
    figure = drawn(study)
    assert "n = 1 seed. No curve is stored for this task." in note(figure)
    assert strip.draw(study, TASK) is None
    assert strip.draw(with_landscape(study), TASK) is None  # a landscape without samples


def test_other_families_have_no_tradeoff(make_results: Make) -> None:
    study = with_landscape(make_results(tasks=1))
    assert tradeoff.draw(study, "schedule/digits") is None


def test_a_landscape_by_another_evaluator_is_not_shown(make_results: Make) -> None:
    study = with_landscape(make_results())
    described = study.task_facts[TASK]

    def seen(evaluator: dict[str, Any]) -> bool:
        tasks = {TASK: described | {"evaluator": evaluator}}
        return replace(study, task_facts=tasks).task(TASK).landscape is not None

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
    finals = shown.final_values(study, TASK, [REWARD, strength])
    assert list(finals.index) == [("bilevel", 0), ("bilevel", 2), ("grid", 0), ("grid", 1)]
    for seed, event in ((0, 3), (2, 4)):  # the last one evaluated; seed 1 ended diverged
        rows = frame[mine[frame.index] & (frame["seed"] == seed) & (frame["event"] == event)]
        values = rows.set_index("metric")["value"]
        assert finals.loc[("bilevel", seed), "r1"] == values["r1"]
        assert finals.loc[("bilevel", seed), "param:lambda"] == values["param:lambda"]


def test_a_choice_is_a_mean_with_the_range_of_its_seeds() -> None:
    across = shown.choice([0.1, 10.0], log=True)
    assert (across.low, across.high) == (0.1, 10.0)
    assert across.centre == pytest.approx(1.0)
    assert shown.choice([1.0], log=False) == shown.Choice(1.0, 1.0, 1.0)


def test_the_axis_leaves_out_the_over_optimised_end_and_says_so(make_results: Make) -> None:
    study = with_landscape(make_results())
    figure = drawn(study)
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert -2 < low < 0.2
        assert 0.6 < high < 1
        assert "↓ \N{MINUS SIGN}7.4" in [text.get_text() for text in axes.texts]
    assert "arrow: where it ends, at λ = 0.01" in note(figure)


def test_labels_are_spread_in_order() -> None:
    targets = [0.1, 0.9, 0.9, 0.91, 1.0]
    places = layout.spread_labels(targets, 0.1, 1.0)
    assert places == pytest.approx([0.1, 0.7, 0.8, 0.9, 1.0])
    crowded = layout.spread_labels([0.5] * 21, 0.1, 1.0)
    assert all(after - before == pytest.approx(0.05) for before, after in pairwise(crowded))
    assert (crowded[0], crowded[-1]) == (pytest.approx(0.0), pytest.approx(1.0))


def test_a_text_stands_where_nothing_is_drawn() -> None:
    edges, size = np.array([[0.0, 0.0], [2.0, 2.0]]), np.array([0.4, 0.1])
    anchor = np.array([1.0, 1.0])
    nothing = np.empty((0, 2))
    right = texts.free_place(anchor, size, nothing, edges)
    assert right is not None
    assert right[0] > 0.2
    left = texts.free_place(np.array([1.9, 1.0]), size, nothing, edges)
    assert left is not None
    assert left[0] < -0.2
    full = np.stack(np.meshgrid(np.linspace(0, 2, 99), np.linspace(0, 2, 99)), -1).reshape(-1, 2)
    assert texts.free_place(anchor, size, full, edges) is None


@pytest.mark.parametrize("methods", [1, 14])
def test_texts_do_not_meet_and_stay_on_the_page(make_results: Make, methods: int) -> None:
    names = list(registry.all_methods())[-methods:]
    figure = drawn(with_landscape(make_results(methods=names, seeds=2)))
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    boxes = [
        text.get_window_extent(renderer)
        for axes in figure.axes
        for text in axes.texts
        if text.get_text()
    ]
    for position, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in boxes[:position])


def test_the_strip_shows_every_column_and_marks_the_best(
    make_results: Make, tmp_path: Path
) -> None:
    image = tmp_path / "strip.png"
    columns = len(STRENGTHS[::4])
    pixels = np.repeat(np.arange(columns, dtype=np.uint8), 8)[None].repeat(3 * 8, axis=0)
    Image.fromarray(pixels).save(image)
    with style.applied():
        figure = strip.draw(with_landscape(make_results(), image), TASK)
    assert figure is not None
    texts = figure.axes[0].texts
    assert [t.get_text() for t in texts if t.get_weight() == "bold"] == ["4.6", "0.56"]
    assert "framed: the best column" in note(figure)
    sheet = strip.with_gaps(image, 3, columns)
    assert sheet.shape == (3 * 9 - 1, columns * 9 - 1, 3)
    assert sheet[0, ::9, 0].tolist() == list(range(columns))
    assert (sheet[8] == 255).all()
    with pytest.raises(ValueError, match="is not 5 x 3 tiles"):
        strip.with_gaps(image, 3, 5)


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
    if stored["strip"]:
        assert set(stored["strip"]["lambdas"]) <= set(strengths)
        strip.with_gaps(
            Path(stored["strip"]["image"]), stored["strip"]["rows"], len(stored["strip"]["lambdas"])
        )


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
