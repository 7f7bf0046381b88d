"""Figures: files, byte stability, what is drawn, and results with holes in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from benchmark import registry
from benchmark.analysis.curves import align
from benchmark.display import style
from benchmark.display.figures import (
    anytime,
    cost,
    fractions,
    layout,
    profile,
    samples,
    schedules,
    time,
    trajectories,
    write_figures,
)
from benchmark.study.model import Metric, Study

Make = Callable[..., Study]
TASK = "schedule/digits"


def test_all_figures_in_all_formats_with_the_same_bytes_again(
    make_results: Make, tmp_path: Path
) -> None:
    study = make_results(tasks=1, methods=("random", "bilevel"), seeds=2, events=5, images=True)
    written = write_figures(study, tmp_path / "figures")
    assert {path.name for path in written} == {
        f"{name}.{extension}"
        for name in (
            "anytime", "fractions", "cost-to-target", "time",
            "metrics-schedule-digits", "trajectories-schedule-digits",
            "landscape-schedule-digits", "samples-schedule-digits",
        )
        for extension in ("png", "pdf", "svg")
    }  # fmt: skip
    again = write_figures(study, tmp_path / "again", processes=2)  # forks draw the same
    for one, other in zip(written, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_some_figures_only(make_results: Make, tmp_path: Path) -> None:
    study = make_results(tasks=1, methods=("random", "bilevel"), seeds=2, events=5)
    (tmp_path / "profile.png").touch()
    written = write_figures(study, tmp_path, ("png",), pattern="m*-digits")
    assert [path.name for path in written] == ["metrics-schedule-digits.png"]
    assert (tmp_path / "profile.png").exists()  # not asked for, so left alone
    with pytest.raises(ValueError, match=r"no figure is called 'any'; there are anytime, .*time"):
        write_figures(study, tmp_path, pattern="any")


def test_many_methods_take_the_width_of_the_page(make_results: Make) -> None:
    few, many = (
        make_results(tasks=1, methods=("bilevel", *(f"m{i}" for i in range(others))), events=5)
        for others in (anytime.MANY - 1, anytime.MANY)
    )
    narrow, wide = (anytime.draw(study) for study in (few, many))
    assert (narrow.get_figwidth(), wide.get_figwidth()) == (style.SINGLE, style.DOUBLE)
    back = [sum(line.get_linewidth() < 1 for line in f.axes[0].lines) for f in (narrow, wide)]
    assert back[0] == 0 < back[1] <= anytime.MANY  # not the suite's focus


def test_no_result_yet(make_results: Make, tmp_path: Path) -> None:
    study = make_results(tasks=1)
    study.runs["status"] = "running"
    study = replace(study, frame=study.frame.iloc[:0])
    with pytest.raises(ValueError, match=r"no finished trial yet .*'running': 9"):
        write_figures(study, tmp_path)


def test_results_with_holes(make_results: Make, tmp_path: Path) -> None:
    """Diverged values, failed, running and missing runs, and a task without any result."""
    study = make_results(tasks=3, methods=("default", "grid", "random", "sobol", "mine"))
    frame, runs = study.frame, study.runs
    reported = frame["metric"].isin(["fid", "r1"])
    frame.loc[reported & (frame["event"] % 5 == 0), "value"] = np.nan
    frame.loc[reported & (frame["event"] % 7 == 0), "value"] = np.inf
    runs.loc[runs["method"] == "grid", "status"] = "failed"
    going = runs["method"] == "sobol"
    runs.loc[going, "status"] = "running"
    runs.loc[going, "gpu_hours"] *= 0.3
    frame = frame[(frame["method"] != "random") & (frame["task"] != "schedule/mnist")]
    study = replace(study, frame=frame, runs=runs[runs["method"] != "random"])
    written = {path.stem for path in write_figures(study, tmp_path, formats=("png",))}
    assert {"anytime", "time", "landscape-finetune-digits"} <= written
    assert not {"landscape-schedule-mnist", "samples-schedule-mnist"} & written


@pytest.mark.parametrize(("tasks", "methods", "seeds"), [(1, 1, 1), (2, 14, 2), (5, 3, 1)])
def test_nothing_is_cut_off(make_results: Make, tasks: int, methods: int, seeds: int) -> None:
    names = list(registry.all_methods())[-methods:]
    study = make_results(tasks=tasks, methods=names, seeds=seeds, events=5)
    with style.applied():
        for figure in (
            anytime.draw(study),
            fractions.draw(study),
            cost.draw(study),
            time.draw(study),
        ):
            _assert_inside(figure)


def _assert_inside(figure: Figure) -> None:
    """No axis label, tick label, legend or note leaves the page or meets another panel."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    for part in (*boxes, *(legend.get_window_extent(renderer) for legend in figure.legends)):
        assert part.x0 >= page.x0 - 1
        assert part.y0 >= page.y0 - 1
        assert part.x1 <= page.x1 + 1
        assert part.y1 <= page.y1 + 1
    for position, box in enumerate(boxes):
        for other in boxes[position + 1 :]:
            assert not box.padded(-1).overlaps(other.padded(-1))


def test_anytime_draws_the_mean_of_the_aligned_seeds(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("bilevel",), seeds=3)
    with style.applied():
        axes = anytime.draw(study).axes[0]
    curve = align(study.task(TASK).trace("bilevel", "fid"))
    assert curve is not None
    line = axes.lines[0]
    np.testing.assert_allclose(line.get_xdata(), curve.hours * 3600)
    np.testing.assert_allclose(line.get_ydata(), np.exp(np.log(curve.values).mean(axis=0)))
    assert axes.get_yscale() == "log"
    assert len(axes.collections) == 1


def test_one_seed_is_said_to_have_no_interval(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("bilevel",), seeds=1)
    with style.applied():
        figure = anytime.draw(study)
    assert "n = 1 seed, so no interval" in figure.get_supxlabel().replace("\n", " ")


def test_a_hopeless_method_does_not_hide_the_others() -> None:
    metric = Metric("fid", "FID", log=True)
    good = [np.array([2.0, 1.0 + 0.1 * k]) for k in range(5)]
    low, high = anytime.focus([*good, np.array([1e6, 1e6])], metric)
    assert low < 1.0
    assert 2.0 <= high < 1e3
    assert anytime.focus(good, metric)[1] > 2.0


def test_the_representative_seed_is_the_median_one(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=3)
    finals = {run.seed: run.values[-1] for run in study.task(TASK).trace("random", "fid")}
    chosen = trajectories.representative(study, TASK, "random")
    assert sorted(finals.values())[1] == finals[chosen]  # type: ignore[index]
    assert trajectories.representative(study, TASK, "sobol") is None


def test_trajectories_draw_what_candidates_show_on_its_variables_scale(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random", "bilevel"), seeds=2, events=6)
    frame = study.frame
    tau = frame[(frame["metric"] == "param:tau") & (frame["method"] == "bilevel")]
    shown = tau.assign(metric="shown:sampling: tau", value=0.5)
    other = tau.assign(metric="shown:temperature", value=3.0)  # of no variable: has no scale
    study = replace(study, frame=pd.concat([frame, shown, other], ignore_index=True))
    with style.applied():
        figure = trajectories.draw(study, TASK)
    assert figure is not None
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == ["end", "tau", "epsilon", "sampling: tau"]
    assert panels["sampling: tau"].get_ylim() == panels["tau"].get_ylim()
    assert len(panels["sampling: tau"].lines) == 1 + 2  # the default, and two seeds of bilevel
    assert "role in their title" in figure.get_supxlabel().replace("\n", " ")


def test_learned_schedules_are_the_tasks_own_curves() -> None:
    torch = pytest.importorskip("torch")
    from tasks.schedule import schedules as tasks_own

    values = {"width": 0.8, "start": 0.1, "tau": 0.6, "eps": 0.02}
    expected = tasks_own.cosine(*map(torch.tensor, np.array(list(values.values()))))
    np.testing.assert_allclose(schedules.cosine(**values), expected.numpy(), rtol=1e-9)
    betas = map(torch.tensor, np.array([1e-4, 0.02]))
    np.testing.assert_allclose(schedules.linear(), tasks_own.linear(*betas).numpy(), rtol=1e-9)


def test_a_schedule_task_shows_the_schedule_that_it_samples_under(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random", "bilevel"), seeds=1)
    task = study.task_facts[TASK]
    task = task | {"variables": [entry for entry in task["variables"] if entry["name"] == "tau"]}
    study = replace(study, task_facts={TASK: task})
    frame = study.frame
    tau = frame[(frame["metric"] == "param:tau") & (frame["method"] == "bilevel")]
    shown = tau.assign(metric="shown:sampling: tau", value=0.5)
    study = replace(study, frame=pd.concat([frame, shown], ignore_index=True))
    assert schedules.sampled_under(study, TASK, "bilevel")["tau"] == 0.5
    with style.applied():
        figure = schedules.draw(study, TASK)
    assert figure is not None
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    assert len(drawn) == 2 + 2
    np.testing.assert_allclose(drawn[-1], schedules.cosine(**schedules.FIXED | {"tau": 0.5}))
    assert schedules.draw(make_results(tasks=1), TASK) is None  # `end`, `epsilon`


def test_the_published_variables_are_drawn_by_their_own_formula(make_results: Make) -> None:
    torch = pytest.importorskip("torch")
    from tasks.schedule.schedules import PUBLISHED

    study = make_results(tasks=1, methods=("random",), seeds=1)
    point = {"start": 0.3, "end": 0.9, "tau": 2.0, "eps": 0.02}
    variables = [{"name": name, "low": 0, "high": 4, "default": 1, "log": False} for name in point]
    study = replace(study, task_facts={TASK: study.task_facts[TASK] | {"variables": variables}})
    frame = study.frame[~study.frame["metric"].str.startswith("param:")]
    score = frame[frame["metric"] == "score"]
    given = [score.assign(metric=f"param:{name}", value=value) for name, value in point.items()]
    study = replace(study, frame=pd.concat([frame, *given], ignore_index=True))
    with style.applied():
        figure = schedules.draw(study, TASK)
    assert figure is not None
    expected = PUBLISHED.curve(*map(torch.tensor, np.array(list(point.values()))))
    drawn = figure.axes[0].lines[-1].get_ydata()
    np.testing.assert_allclose(drawn, expected.numpy(), rtol=1e-9)


def test_profile_draws_the_methods_that_ran_everywhere(make_results: Make) -> None:
    study = make_results(tasks=2, methods=("default", "random", "bilevel"))
    assert profile.draw(study) is None  # no references
    for task in study.tasks:
        name = study.task_facts[task]["metrics"][0]["name"]
        references = {"default": {name: 2.0}, "tuned": {name: 1.0}}
        study.task_facts[task] = study.task_facts[task] | {"references": references}
    runs = study.runs
    gone = (runs["method"] == "random") & (runs["task"] == TASK)
    study = replace(study, runs=runs[~gone])
    with style.applied():
        figure = profile.draw(study)
        assert figure is not None
        _assert_inside(figure)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["default", "bilevel"]
    assert "left out: random" in figure.get_supxlabel().replace("\n", " ")


def test_where_the_hours_went_by_kind(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=2)
    with style.applied():
        figure = time.draw(study)
    bars = {bar.get_label(): bar for bar in figure.legends[0].get_patches()}
    assert list(bars)[-1] == time.FREE
    length = sum(patch.get_width() for patch in figure.axes[0].patches)
    runs = study.runs
    assert length == pytest.approx((runs["method_s"] + runs["evaluation_s"]).mean())


def test_few_methods_are_named_beside_their_lines(make_results: Make) -> None:
    few, many = ("default", "bilevel"), list(registry.all_methods())[:8]
    for methods, named in ((few, True), (many, False)):
        study = make_results(tasks=1, methods=methods)
        with style.applied():
            figure = anytime.draw(study)
            _assert_inside(figure)
        assert bool(figure.legends) != named
        texts = [text.get_text() for text in figure.axes[0].texts]
        assert set(few) <= set(texts) or not named


def test_samples_over_the_budget(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("bilevel",), seeds=1, events=6, images=True)
    run = study.runs.iloc[0]
    frame = study.frame
    taken = frame[frame["incumbent"]].drop_duplicates("event").sort_values("gpu_hours")
    newest = Path(run["samples"])
    for trial in taken["trial"]:
        newest.with_name(f"samples-{trial:06d}.png").write_bytes(newest.read_bytes())
    with style.applied():
        figure = samples.draw(study, TASK)
    assert figure is not None
    values = [text.get_text() for text in figure.axes[-1].texts]
    last = study.task(TASK).trace("bilevel", "fid")[0].values[-1]
    assert values[0] == f"{last:.3g}"
    assert [axes.texts[-1].get_text() for axes in figure.axes] == [
        "25 % of the budget", "50 % of the budget", "100 % of the budget"
    ]  # fmt: skip


def test_tiles_come_back_in_reading_order(tmp_path: Path) -> None:
    grid = np.zeros((2 * 4, 8 * 4), np.uint8)
    for index in range(16):
        row, column = divmod(index, 8)
        grid[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = 10 * index
    Image.fromarray(grid).save(tmp_path / "grid.png")
    tiles = samples.load(str(tmp_path / "grid.png"), 4)
    assert tiles is not None
    assert tiles.shape == (samples.TILES, 4, 4, 3)
    assert tiles[:, 0, 0, 0].tolist() == [10 * index for index in range(samples.TILES)]
    assert samples.load(None, float("nan")) is None
    assert samples.load(str(tmp_path / "none.png"), 4) is None
    with pytest.raises(ValueError, match="32 x 8 pixels, not rows of 8 tiles of 5"):
        samples.load(str(tmp_path / "grid.png"), 5)


def test_wrapped_notes_fit_the_page() -> None:
    assert layout.note_height("word " * 100, style.SINGLE) > layout.note_height(
        "word", style.SINGLE
    )
