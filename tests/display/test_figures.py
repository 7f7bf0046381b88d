"""Figures: what is described, what is drawn, files, and results with holes in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pages import with_references
from PIL import Image

from benchmark.analysis.curves import align
from benchmark.display import canvas, figures, style
from benchmark.display.chart import (
    Axis,
    Chart,
    Look,
    Panel,
    Series,
    bounded,
    limits,
    with_zero,
)
from benchmark.display.figures import describe, plot, write_figures
from benchmark.display.kinds import anytime, samples, schedules, time, trajectories
from benchmark.runs.design import Contrast, Design
from benchmark.study.model import Metric, Study

Make = Callable[..., Study]
TASK = "schedule/digits"


def described(study: Study, kind: str, task: str | None = None) -> Chart:
    chart = describe(study, kind, task)
    assert chart is not None
    return chart


def drawn(chart: Chart) -> Figure:
    with style.applied():
        return canvas.figure(chart)


def series(panel: Panel, look: str) -> list[tuple[list[float], list[float]]]:
    return [(s.x.tolist(), s.y.tolist()) for s in panel.series if s.look == look]


def test_all_figures_in_all_formats_with_the_same_bytes_again(
    make_results: Make, tmp_path: Path
) -> None:
    study = make_results(tasks=1, methods=("random", "bilevel"), seeds=2, events=5, images=True)
    study = with_references(study)
    written = write_figures(study, tmp_path / "figures")
    assert {path.name for path in written} == {
        f"{name}.{extension}"
        for name in (
            "anytime", "time", "anytime-schedule-digits",
            "trajectories-schedule-digits", "samples-schedule-digits",
        )
        for extension in ("png", "pdf", "svg")
    }  # fmt: skip
    again = write_figures(study, tmp_path / "again")
    for one, other in zip(written, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_at_most_eight_kinds_each_with_a_question(make_results: Make) -> None:
    assert len(figures.KINDS) <= 8
    for kind in ("anytime", "time", "trajectories"):
        assert described(with_references(make_results(tasks=1)), kind).title.endswith("?")


def test_some_figures_only(make_results: Make, tmp_path: Path) -> None:
    study = make_results(tasks=1, methods=("random", "bilevel"), seeds=2, events=5)
    written = write_figures(study, tmp_path, ("png",), pattern="a*-digits")
    assert [path.name for path in written] == ["anytime-schedule-digits.png"]
    with pytest.raises(ValueError, match=r"no figure is called 'any'; there are anytime, .*time"):
        write_figures(study, tmp_path, pattern="any")


def test_a_figure_for_a_notebook(make_results: Make) -> None:
    study = make_results(tasks=2, events=5)
    assert len(plot(study, "anytime").axes) == 2
    assert len(plot(study, "anytime", "schedule/digits").axes) == 3  # one per metric
    assert len(plot(study, "time", "finetune/digits").axes) == 1
    with pytest.raises(KeyError, match="no figure is called 'strip'; there are anytime"):
        plot(study, "strip")
    with pytest.raises(KeyError, match="no task is called 'a'; there are schedule/digits"):
        plot(study, "anytime", "a")
    with pytest.raises(ValueError, match="nothing to show in a figure 'schedules-finetune-digits'"):
        plot(study, "schedules", "finetune/digits")


def test_no_result_yet(make_results: Make, tmp_path: Path) -> None:
    study = make_results(tasks=1)
    study.runs["status"] = "running"
    study = replace(study, frame=study.frame.iloc[:0])
    with pytest.raises(ValueError, match=r"no finished trial yet .*'running': 9"):
        write_figures(study, tmp_path)


def test_results_with_holes(make_results: Make, tmp_path: Path) -> None:
    """Diverged values, failed, running and missing runs, and a task without any result."""
    study = make_results(tasks=3, methods=("default", "grid", "random", "sobol", "mine"))
    study = with_references(study)
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
    assert {"anytime", "time", "tradeoff-finetune-digits"} <= written
    assert not {"trajectories-schedule-mnist", "samples-schedule-mnist"} & written


@pytest.mark.parametrize(("tasks", "methods", "seeds"), [(1, 1, 1), (2, 14, 2), (5, 3, 1)])
def test_nothing_is_cut_off(make_results: Make, tasks: int, methods: int, seeds: int) -> None:
    names = ["bilevel", *(f"method-{number}" for number in range(methods - 1))]
    study = with_references(make_results(tasks=tasks, methods=names, seeds=seeds, events=5))
    for kind in ("anytime", "time"):
        if chart := describe(study, kind):
            assert_inside(drawn(chart))


def assert_inside(figure: Figure) -> None:
    """No axis label, tick label, legend or note leaves the page or meets another panel."""
    with style.applied():
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
    chart = described(study, "anytime")
    curve = align(study.task(TASK).trace("bilevel", "fid"))
    assert curve is not None
    axes = drawn(chart).axes[0]
    for x, y in (
        series(chart.panels[0], "bilevel")[0],
        (axes.lines[0].get_xdata(), axes.lines[0].get_ydata()),
    ):
        np.testing.assert_allclose(x, curve.hours * 3600)
        np.testing.assert_allclose(y, np.exp(np.log(curve.values).mean(axis=0)))
    assert axes.get_yscale() == "log"
    assert len(axes.collections) == 1


def test_one_seed_is_said_to_have_no_interval(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("bilevel",), seeds=1)
    assert "n = 1 seed, so no interval" in described(study, "anytime").note


def test_where_many_are_compared_only_planned_ones_have_bands(make_results: Make) -> None:
    names = ("bilevel", *(f"method-{number}" for number in range(7)))
    study = make_results(tasks=1, methods=names)
    contrast = Contrast("one", TASK, "bilevel", ("method-3",))
    study = replace(study, design=Design(focus="bilevel", contrasts=(contrast,)))
    banded = {s.look for s in described(study, "anytime").panels[0].series if s.band}
    assert {"bilevel", "method-3"} <= banded
    assert len(banded) <= 3


def test_a_hopeless_method_does_not_hide_the_others() -> None:
    metric = Metric("fid", "FID", log=True)
    good = [np.array([2.0, 1.0 + 0.1 * k]) for k in range(5)]
    low, high = anytime.focus([*good, np.array([1e6, 1e6])], metric)
    assert low < 1.0
    assert 2.0 <= high < 1e3
    assert anytime.focus(good, metric)[1] > 2.0


def test_who_is_off_the_axis_is_named(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("a", "b", "c", "hopeless"), seeds=2)
    bad = (study.frame["method"] == "hopeless") & (study.frame["metric"] == "fid")
    study.frame.loc[bad, "value"] = 1e9
    assert described(study, "anytime").panels[0].remark == "off the axis: hopeless"


def test_zero_is_at_the_edge_of_a_log_axis() -> None:
    y = Axis("FID", True, *with_zero(0.5, 2.0), zero=True)
    lines = {"perfect": [1.0, 0.0, -1e-17], "other": [0.5, 1.0, 2.0]}
    panel = Panel(
        "p", Axis("time", False, 0, 2), y,
        [Series(name, np.arange(3.0), np.array(ys), join="steps") for name, ys in lines.items()],
    )  # fmt: skip
    looks = {name: Look(name, "#000000") for name in lines}
    axes = drawn(Chart("c", "t", "n", looks, [panel])).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [1.0, y.low, y.low]
    assert axes.lines[1].get_ydata().tolist() == lines["other"]
    texts = [text.get_text() for text in axes.get_yticklabels()]
    assert dict(zip(axes.get_yticks(), texts, strict=True))[y.low] == "0"
    assert 0 < y.low < 0.5 / 1.2


def test_a_perfect_score_is_drawn(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("default", "bilevel"), seeds=2)
    perfect = (study.frame["method"] == "bilevel") & (study.frame["metric"] == "fid")
    study.frame.loc[perfect, "value"] = 0.0
    panel = described(study, "anytime").panels[0]
    assert panel.y.zero
    assert panel.remark == ""
    assert set(series(panel, "bilevel")[0][1]) == {0.0}


@pytest.mark.parametrize("value", [1e300, 1e308, -1e308, np.inf, 0.0, 5e-324])
def test_no_value_stops_a_figure(make_results: Make, tmp_path: Path, value: float) -> None:
    study = with_references(
        make_results(tasks=1, methods=("default", "bilevel"), seeds=2, events=4)
    )
    study.frame.loc[study.frame["metric"].isin(["fid", "recall"]), "value"] = value
    written = write_figures(study, tmp_path, ("png", "svg"))
    stems = {path.stem for path in written}
    assert "time" in stems
    assert (abs(value) > 1e299) <= ("anytime" in stems or value < 0 or value == np.inf)


def test_limits_hold_what_there_is() -> None:
    assert limits([[1.0, np.nan, np.inf, 3.0]], log=False) == pytest.approx((0.88, 3.12))
    assert limits([], log=True) == (0.1, 1.0)
    low, high = limits([[-1e308, 1e308]], log=False)
    assert np.isfinite([low, high, high - low]).all()
    assert np.isnan(bounded([np.nan])).all()


AWKWARD = ["m" * 130, "m" * 129 + "n", r"$\frac{", "a_b^{c}", "<b>&", "名前", "two\nlines", "%s\t|"]


def test_awkward_labels_are_drawn_and_never_look_the_same(
    make_results: Make, tmp_path: Path
) -> None:
    study = make_results(tasks=1, methods=AWKWARD, seeds=1, events=4, images=True)
    study = with_references(study)
    names = style.shown_names(study)
    assert len(set(names.values())) == len(AWKWARD)
    assert max(map(len, names.values())) <= style.LONGEST_NAME + 4
    written = {path.stem for path in write_figures(study, tmp_path, ("png", "pdf"))}
    assert {"anytime", "time", "samples-schedule-digits"} <= written
    assert_inside(drawn(described(study, "anytime")))


def test_one_bad_figure_does_not_take_the_others_along(
    make_results: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> Chart:
        raise ArithmeticError("too\nlarge")

    monkeypatch.setitem(figures.OVERALL, "time", broken)
    study = make_results(tasks=1, events=4)
    stems = {path.stem for path in write_figures(study, tmp_path, ("png",))}
    assert "anytime" in stems
    assert "time" not in stems
    assert caplog.messages == ["left out figure time: ArithmeticError: too large"]


@pytest.mark.parametrize(
    "environment",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "nonsense"},
        {"SOURCE_DATE_EPOCH": "yesterday"},
        {"HOME": "/nonexistent/home"},
    ],
)
def test_a_parents_environment_does_not_matter(environment: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from benchmark.display import figures, page\n"
        "from benchmark.display import canvas, style\n"
        "from benchmark.display.chart import Axis, Chart, Look, Panel, Series\n"
        "line = Series('a', np.arange(3.0), np.arange(3.0), join='line')\n"
        "panel = Panel('p', Axis(), Axis(), [line])\n"
        "chart = Chart('c', 't', 'n', {'a': Look('a', '#000000')}, [panel])\n"
        "with style.applied():\n"
        f"    canvas.save(canvas.figure(chart), Path({str(tmp_path)!r}), 'c', figures.FORMATS)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"c.png", "c.pdf", "c.svg"}


def test_the_representative_seed_is_the_median_one(make_results: Make) -> None:
    task = make_results(tasks=1, methods=("random",), seeds=3).task(TASK)
    finals = {run.seed: run.values[-1] for run in task.trace("random", "fid")}
    chosen = trajectories.representative(task, "random")
    assert chosen is not None
    assert sorted(finals.values())[1] == finals[chosen]
    assert trajectories.representative(task, "sobol") is None


def test_a_single_run_is_a_line_and_a_search_its_trials(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random", "bilevel"), seeds=2, events=6)
    panels = {panel.title: panel for panel in described(study, "trajectories", TASK).panels}
    assert list(panels) == ["end", "tau", "epsilon"]
    assert panels["tau"].rules[0].at == 1.0
    drawn = panels["tau"].series
    lines = [one for one in drawn if one.look == "bilevel"]
    assert [one.join for one in lines] == ["line", "line"]  # one for each seed
    assert [one.faint for one in lines].count(False) == 1
    trials = [one for one in drawn if one.look == "random"]
    assert sum(len(one.x) for one in trials if one.faint) == 6
    assert [len(one.x) for one in trials if not one.faint] == [1]  # what the run delivers


def test_cosine_levels_are_the_tasks_own_curves() -> None:
    torch = pytest.importorskip("torch")
    from tasks.schedule import schedules as tasks_own

    values = {"width": 0.8, "start": 0.1, "tau": 0.6, "eps": 0.02}
    alpha_bar = tasks_own.cosine(*map(torch.tensor, np.array(list(values.values()))))
    expected = (alpha_bar.log() - torch.log1p(-alpha_bar)).numpy()
    np.testing.assert_allclose(schedules.cosine_levels(values), expected, rtol=1e-7)
    published = {"start": 0.3, "end": 0.9, "tau": 2.0, "eps": 0.02}
    alpha_bar = tasks_own.cosine(*map(torch.tensor, np.array([0.6, 0.0003, 2.0, 0.02])))
    expected = (alpha_bar.log() - torch.log1p(-alpha_bar)).numpy()
    np.testing.assert_allclose(schedules.cosine_levels(published), expected, rtol=1e-7)


def test_the_density_of_training_levels_is_one() -> None:
    for values in (
        schedules.COSINE,
        {"location": 1.0, "scale": 0.8, "shape": 0.3},
        {"location": 0.0, "scale": 1.0, "shape": 0.0},
    ):
        levels = schedules.training(values)
        places, heights = schedules.density(levels)
        inside = float(np.mean(np.abs(levels) < schedules.SPAN))
        assert float(heights.sum() * (places[1] - places[0])) == pytest.approx(inside)


def test_a_schedule_task_shows_what_it_trains_on_and_samples_at(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random", "bilevel"), seeds=1)
    facts = study.task_facts[TASK]
    facts = {**facts, "variables": [v for v in facts["variables"] if v["name"] == "tau"]}
    frame = study.frame
    tau = frame[(frame["metric"] == "param:tau") & (frame["method"] == "bilevel")]
    shown = tau.assign(metric="shown:sampling: tau", value=0.5)
    frame = pd.concat([frame, shown], ignore_index=True)
    mine = replace(study, task_facts={TASK: facts}, frame=frame)
    chart = described(mine, "schedules", TASK)
    trained, sampled = chart.panels
    expected = schedules.sampling({"tau": 0.5})
    assert series(sampled, "bilevel")[0][1] == expected.tolist()
    last = tau.sort_values("event")["value"].iloc[-1]
    expected = schedules.density(schedules.training({"tau": last}))[1]
    assert series(trained, "bilevel")[0][1] == expected.tolist()
    assert len(trained.series) == 2 + 2  # two fixed ones in grey
    assert describe(study, "schedules", TASK) is None  # `end`, `epsilon`


def test_where_the_hours_went_by_kind(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=2)
    chart = described(study, "time")
    assert list(chart.looks)[-1] == time.FREE
    figure = drawn(chart)
    length = sum(patch.get_width() for patch in figure.axes[0].patches)
    assert length == pytest.approx((study.runs["method_s"] + study.runs["evaluation_s"]).mean())


def test_every_line_is_in_the_legend(make_results: Make) -> None:
    for methods in (("default", "_mine"), tuple(f"method-{number}" for number in range(8))):
        figure = drawn(described(make_results(tasks=1, methods=methods), "anytime"))
        assert_inside(figure)
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == list(methods)


def test_titles_of_many_panels_keep_apart(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("default", "bilevel"), seeds=2, events=4)
    facts = study.task_facts[TASK]
    named = [
        {**facts["metrics"][0], "name": f"fid-{k}", "label": f"Distance in the {k}th of the spaces"}
        for k in range(12)
    ]
    fid = study.frame[study.frame["metric"] == "fid"]
    more = pd.concat([study.frame, *(fid.assign(metric=metric["name"]) for metric in named)])
    facts = {**facts, "metrics": [*facts["metrics"], *named]}
    study = replace(study, task_facts={TASK: facts}, frame=more.reset_index(drop=True))
    figure = drawn(described(study, "anytime", TASK))
    assert len(figure.axes) == 15
    assert_inside(figure)


def test_samples_over_the_budget(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("bilevel",), seeds=1, events=6, images=True)
    newest = Path(study.runs.iloc[0]["samples"])
    taken = study.frame[study.frame["incumbent"]].drop_duplicates("event")
    for trial in taken["trial"]:
        newest.with_name(f"samples-{trial:06d}.png").write_bytes(newest.read_bytes())
    chart = described(study, "samples", TASK)
    last = study.task(TASK).trace("bilevel", "fid")[0].values[-1]
    assert chart.sheet["bilevel"][-1].text == f"{last:.3g}"
    assert [moment.partition(" of")[0] for moment in chart.moments] == ["25 %", "50 %", "100 %"]
    figure = drawn(chart)
    assert len(figure.axes) == 3
    assert figure.axes[-1].texts[0].get_text() == f"{last:.3g}"
    assert_inside(figure)


def test_a_broken_picture_is_named_and_the_others_shown(
    make_results: Make, caplog: pytest.LogCaptureFixture
) -> None:
    study = make_results(tasks=1, methods=("default", "bilevel"), seeds=1, events=6, images=True)
    broken = Path(study.runs.iloc[0]["samples"])
    broken.write_bytes(broken.read_bytes()[:60])
    for _ in range(2):
        assert list(described(study, "samples", TASK).sheet) == ["bilevel"]
    named = [message.startswith(f"left out picture {broken}") for message in caplog.messages]
    assert named == [True]


def test_tiles_come_back_in_reading_order(tmp_path: Path) -> None:
    grid = np.zeros((2 * 4, 8 * 4), np.uint8)
    for index in range(16):
        row, column = divmod(index, 8)
        grid[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = 10 * index
    path = tmp_path / "grid.png"
    Image.fromarray(grid).save(path)
    tiles = samples.load(path)
    assert tiles.shape == (samples.TILES, 4, 4, 3)
    assert tiles[:, 0, 0, 0].tolist() == [10 * index for index in range(samples.TILES)]
    Image.fromarray(grid[:7]).save(path)
    with pytest.raises(ValueError, match="32 x 7 pixels are not rows of 8 squares"):
        samples.load(path)


def test_wrapped_notes_fit_the_page() -> None:
    lines = canvas.wrap("word " * 100, style.SINGLE).splitlines()
    assert max(map(len, lines)) <= style.SINGLE * canvas.CHARACTERS_PER_INCH


def test_plans_are_those_of_the_literature() -> None:
    from scipy import stats

    grid = (np.arange(schedules.TABLE) + 0.5) / schedules.TABLE
    laplace = {"location": 0.5, "scale": 1.5, "shape": 0.0}
    expected = stats.laplace.ppf(grid, loc=0.5, scale=1.5)
    np.testing.assert_allclose(schedules.training(laplace), expected, atol=1e-9)
    normal = schedules.training({"location": 2.4, "scale": 2.4, "shape": 1.0})
    np.testing.assert_allclose(normal, stats.norm.ppf(grid, loc=2.4, scale=2.4), atol=1e-9)
    edm = {"location": 0.0, "sigma_max": 80.0, "sigma_min": 0.002, "rho": 7.0, "arc": 0.0}
    share = np.arange(10) / 9
    sigma = (80 ** (1 / 7) + share * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7  # Karras, eq. 5
    np.testing.assert_allclose(schedules.sampling(edm), -2 * np.log(sigma), atol=1e-9)
    uniform = np.exp(-schedules.sampling(edm | {"arc": 1.0}) / 2)  # noise over signal
    np.testing.assert_allclose(np.diff(np.arctan(uniform), 2), 0, atol=1e-9)
