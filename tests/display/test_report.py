"""The HTML page as text: its numbers, its pictures, and what hostile names can do to it."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import (
    HOSTILE,
    LEAST_CONTRAST,
    contrast,
    hostile,
    with_references,
    with_samples,
)
from PIL import Image

from benchmark.analysis import measures, statistics
from benchmark.analysis.curves import at_fractions
from benchmark.analysis.verdict import EXPLANATION, verdict, verdicts
from benchmark.display import style
from benchmark.display.chart import Look
from benchmark.display.columns import FINAL
from benchmark.display.figures import OVERALL, describe
from benchmark.display.kinds import anytime, samples
from benchmark.display.page import content, provenance, render
from benchmark.display.tables import tables
from benchmark.runs.description import SCHEMA_VERSION
from benchmark.study.model import Study

Make = Callable[..., Study]
TASK = "schedule/digits"


class Reader(HTMLParser):
    """What a browser would find: tags with attributes, and the content of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        if self.inside == "style":
            self.styles[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    @property
    def data(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.scripts[0])
        return content


def charts(data: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [chart for chart in data["charts"] if chart["kind"] == kind]


def test_curves_on_the_page_are_those_of_the_frame(make_results: Make) -> None:
    study = make_results(tasks=2, methods=("default", "random", "bilevel"), seeds=4)
    data = Reader(render(study)).data
    for task, chart in zip(study.tasks.values(), charts(data, "anytime"), strict=True):
        for metric, panel in zip(task.metrics, chart["panels"], strict=True):
            assert len(panel["series"]) == 3
            for curve in panel["series"]:
                runs = task.trace(data["looks"][curve["look"]]["name"], metric.name)
                x = np.array(curve["x"])
                assert len(x) > 20
                moments = (x[:-1] + x[1:]) / 2 / task.unit.per_hour  # halfway between two steps
                values = np.stack([run.at(moments) for run in runs])
                expected = statistics.mean_interval(values, metric.log)
                for name, column in (
                    ("y", expected.value), ("low", expected.low), ("high", expected.high)
                ):  # fmt: skip
                    np.testing.assert_allclose(curve[name][:-1], column, rtol=1e-4)
                assert curve["n"][:-1] == expected.n.tolist()


def test_a_curve_ends_with_the_quality_of_the_tables(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=3)
    chart = describe(study, "anytime", TASK)
    assert chart is not None
    curve = content.described(chart, content.Looks())["panels"][0]["series"][0]
    final = measures.quality(study).query("metric == 'fid' and fraction == 1.0").iloc[0]
    assert curve["x"][-1] == pytest.approx(60.0)
    assert curve["y"][-1] == pytest.approx(final["mean"], rel=1e-4)
    assert curve["high"][-1] == pytest.approx(final["high"], rel=1e-4)


def test_the_page_draws_the_described_figures(make_results: Make) -> None:
    study = with_samples(make_results(tasks=2, methods=("default", "random", "bilevel"), seeds=3))
    study = with_references(study)
    data = Reader(render(study)).data
    kinds = [chart["kind"] for chart in data["charts"]]
    assert kinds == [
        "anytime", "trajectories", "time", "anytime", "trajectories", "tradeoff", "time",
    ]  # fmt: skip
    for number, kind in enumerate(kinds[:3]):
        chart = describe(study, kind, TASK)
        assert chart is not None
        shown = data["charts"][number]
        assert shown["title"] == chart.title
        assert shown["note"] == chart.note
        for panel, drawn in zip(chart.panels, shown["panels"], strict=True):
            assert drawn["y"]["low"] == pytest.approx(panel.y.low, rel=1e-6)
            assert drawn["y"]["log"] == panel.y.log
            assert list(panel.y.names) == drawn["y"]["names"]
            assert sum(len(series.x) > 0 for series in panel.series) == len(drawn["series"])


def test_a_figure_that_cannot_be_made_is_left_out(
    make_results: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no\nroom")

    monkeypatch.setitem(OVERALL, "time", broken)
    data = Reader(render(make_results(tasks=1))).data
    assert [chart["kind"] for chart in data["charts"]] == [
        "anytime", "trajectories"
    ]  # fmt: skip
    assert caplog.messages == [
        "left out figure time of schedule/digits: ZeroDivisionError: no room"
    ]


@given(st.integers(1, 2000), st.integers(4, 200))
def test_thinning_keeps_both_ends_and_few_moments(count: int, points: int) -> None:
    kept = anytime.thinned(count, points)
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert (np.diff(kept) > 0).all()
    assert len(kept) <= points
    assert len(kept) == count or count > points


@pytest.mark.parametrize("marker", list(style.MARKERS))
def test_markers_are_closed_paths_of_about_one_unit(marker: str) -> None:
    path = content.outline(Look("a", "#000000", marker))
    assert re.fullmatch(r"[MLQCZ0-9eE .\-]+", path)
    assert path.startswith("M")
    assert path.endswith("Z")
    numbers = [float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", path)]
    assert 0.3 <= max(map(abs, numbers)) <= 1.0


def test_the_policy_admits_the_pages_own_style_and_script_alone(make_results: Make) -> None:
    text = render(make_results(tasks=1))
    reader = Reader(text)
    policy = next(
        attributes["content"]
        for tag, attributes in reader.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for part in (reader.styles[0], reader.scripts[1]):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:image/")), target
        assert "style" not in attributes


def test_hostile_text_stays_text(make_results: Make) -> None:
    plain = make_results(tasks=1, methods=("default", "random", "bilevel"))
    study = hostile(make_results(tasks=1, methods=("default", "random", "bilevel")))
    text = render(study)
    reader = Reader(text)
    tags = [tag for tag, _ in reader.tags]
    plain_tags = [tag for tag, _ in Reader(render(plain)).tags]
    assert tags.count("script") == plain_tags.count("script") == 2
    assert set(tags) == set(plain_tags)
    assert not [a for _, a in reader.tags if any(name.startswith("on") for name in a)]
    assert HOSTILE not in text
    assert style.shortened(HOSTILE) in [look["name"] for look in reader.data["looks"]]
    assert reader.data["charts"][0]["panels"][0]["title"] == f"{HOSTILE} ↓"


def test_the_same_results_give_the_same_page(make_results: Make) -> None:
    study = with_samples(make_results(tasks=2))
    assert render(study) == render(study)


def test_results_with_holes(make_results: Make) -> None:
    """Nothing delivered on one task, failed runs, diverged values, a method without runs."""
    study = make_results(tasks=3, methods=("default", "grid", "random", "sobol"))
    frame, runs = study.frame, study.runs
    frame.loc[(frame["metric"] == "fid") & (frame["event"] % 5 == 0), "value"] = np.nan
    runs.loc[runs["method"] == "grid", "status"] = "failed"
    frame = frame[(frame["method"] != "random") & (frame["task"] != "schedule/mnist")]
    study = replace(study, frame=frame, runs=runs[runs["method"] != "random"])
    data = Reader(render(study)).data
    first, second = charts(data, "anytime")  # nothing was delivered on the third task
    assert first["panels"][0]["title"] == "FID ↓"
    assert second["panels"][0]["title"] == "E[r1] ↑"
    drawn = {series["look"] for series in first["panels"][0]["series"]}
    assert {data["looks"][index]["name"] for index in drawn} == {"default", "sobol"}


def test_nothing_has_been_delivered(make_results: Make) -> None:
    study = make_results(tasks=1)
    study = replace(study, frame=study.frame.iloc[:0])
    reader = Reader(render(study))
    assert charts(reader.data, "anytime") == []
    assert "noscript" not in [tag for tag, _ in reader.tags]


def test_the_quality_table_is_sortable(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("default", "random", "bilevel"))
    block = tables(study)["quality"].block(TASK)
    assert block is not None
    place = block.titles.index(FINAL)
    finals = {
        method: statistics.mean_interval(
            at_fractions(study.task(TASK).trace(method, "fid"), 60 / 3600, (1.0,)), log=True
        ).value[0]
        for method in study.methods
    }
    for row in block.rows:
        assert row[place].key == pytest.approx(finals[row[0].method or ""])
        assert f'data-key="{row[place].key}"' in render(study)
    pairs = tables(study)["comparisons"].block(TASK)
    assert pairs is not None
    assert len(pairs.rows) == 3
    assert all((row[2].key or 2) < 1 for row in pairs.rows)  # better: a smaller FID


def test_samples_show_what_was_delivered_at_each_moment(make_results: Make) -> None:
    study = with_samples(make_results(tasks=1, methods=("random", "bilevel"), seeds=2))
    chart = describe(study, "samples", TASK)
    assert chart is not None
    assert "(seed 0;" in chart.note
    assert len(chart.moments) == len(samples.SHARES)
    for label, row in chart.sheet.items():
        frame = study.frame[study.frame["incumbent"]]
        rows = frame[(frame["method"] == label) & (frame["seed"] == 0)]
        for share, tiles in zip(samples.SHARES, row, strict=True):
            early = rows[rows["gpu_hours"] <= share * 60 / 3600].sort_values("event")
            assert tiles.images is not None
            assert (tiles.images == early["trial"].iloc[-1]).all()
    text = render(study)
    source = [a["src"] for tag, a in Reader(text).tags if tag == "img"][-1]
    assert source is not None
    image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert image.width > 900  # as wide as a printed page


def test_the_summary_says_who_wins_and_how_to_read_it(make_results: Make) -> None:
    study = make_results(tasks=2, methods=("default", "random", "bilevel"), seeds=5)
    text = re.sub(r"<[^>]+>", "", render(study).partition("<main>")[2])
    plain = " ".join(html.unescape(text).split())
    said = [found.headline for found in verdicts(study)]
    for expected in (EXPLANATION, *verdict(study), *said):
        assert expected in plain


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_controls_stand_out_from_the_page(theme: int) -> None:
    css = (Path(content.__file__).parent / "report.css").read_text(encoding="utf-8")
    both = re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\);", css)
    colour = {name: themes[theme] for name, *themes in both}
    for ground in ("page", "tint"):
        for text in ("ink", "quiet", "link"):
            assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground)
    for part in ("edge", "focus"):
        assert contrast(colour[part], colour["page"]) >= LEAST_CONTRAST, part


def test_provenance_is_read_from_the_runs(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random", "bilevel"), seeds=3)
    assert provenance.settings(study) == []
    described = [
        description(run, commit="b" * 40 if run["seed"] else "a" * 40)
        for run in study.runs.to_dict("records")
    ]
    study = replace(study, descriptions=described)
    first, second = provenance.settings(study)
    assert (first.runs, second.runs) == (2, 4)
    assert first.commands == [("python -m benchmark run --all", 2)]
    text = render(study)
    for expected in ("a" * 40, "numpy 2.0", "python -m benchmark run --all", "0, 1, 2"):
        assert expected in text
    cells = provenance.runs(study).blocks[0].texts().iloc[0]
    assert cells.to_dict() == {
        "task": TASK, "method": "random", "seeds": "0, 1, 2", "runs": "3 finished"
    }  # fmt: skip


def description(run: dict[str, Any], commit: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "spec": {"task": run["task"], "label": run["method"], "clock": "device"},
        "task": {"name": run["task"]},
        "method": {"name": run["method"]},
        "space_hash": "cafe",
        "provenance": {
            "device": "cpu: some", "platform": "Linux", "python": "3.11",
            "versions": {"numpy": "2.0", "torch": None},
            "git": {"commit": commit, "dirty": False},
            "command": "python -m benchmark run --all",
        },
    }  # fmt: skip
