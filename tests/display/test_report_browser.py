"""The HTML page in a real browser: what moves when a reader touches it, and that nothing leaves.

Skipped where there is no chromium (Debian's package `chromium` has it).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import HOSTILE, LEAST_CONTRAST, contrast, hostile, with_samples

from benchmark import registry
from benchmark.analysis import statistics
from benchmark.display import formatting, style
from benchmark.display.page import write_report
from benchmark.study.model import Metric, Study

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
Make = Callable[..., Study]
TASK = "schedule/digits"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@dataclass
class Opened:
    """A page, and everything that it should not have done."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    def chart(self, number: int = 0) -> Any:
        return self.page.locator("figure.chart[data-kind=anytime]").nth(number)

    def lines(self, number: int = 0) -> dict[str, str]:
        """Path data by class of its look."""
        found = self.chart(number).locator("g.curve")
        script = "gs => gs.map(g => [g.classList[1], g.querySelector('.line').getAttribute('d')])"
        return dict(found.evaluate_all(script))

    def readout(self, number: int = 0) -> dict[str, tuple[str, str]]:
        """Value and n by method."""
        rows = self.chart(number).locator("tr[data-look]")
        script = """rows => rows.map(row => [row.querySelector('label').textContent.trim(),
            row.querySelector('.value').textContent, row.querySelector('.n').textContent])"""
        return {name: (value, n) for name, value, n in rows.evaluate_all(script)}

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        element = "document.documentElement"
        width: int = self.page.evaluate(f"{element}.scrollWidth - {element}.clientWidth")
        return width


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens the page of some results; afterwards fails if it complained or asked for anything."""
    opened: list[Opened] = []

    def visit(study: Study, width: int = 1280, **options: Any) -> Opened:
        path = write_report(study, tmp_path)
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        page = context.new_page()
        visited = Opened(page)
        opened.append(visited)
        page.on("console", lambda message: visited.complaints.append(message.text))
        page.on("pageerror", lambda error: visited.complaints.append(str(error)))

        def request(request: Any) -> None:
            if request.url != path.as_uri() and not request.url.startswith("data:"):
                visited.complaints.append(request.url)

        page.on("request", request)
        page.goto(path.as_uri())
        return visited

    yield visit
    for visited in opened:
        visited.page.context.close()
        assert visited.complaints == []


@pytest.fixture
def small(make_results: Make) -> Study:
    return with_samples(make_results(tasks=2, methods=("default", "random", "bilevel")))


def expected(study: Study, task: str, metric: Metric, hours: float) -> dict[str, Any]:
    """What the readout should say at a moment, straight from the runs."""
    texts = {}
    for method in study.methods:
        runs = study.task(task).trace(method, metric.name)
        values = np.array([run.at(hours) for run in runs])
        if hours < max(run.first for run in runs):
            texts[method] = ("-", "")
        else:
            estimate = statistics.mean_interval(values, metric.log)
            numbers = map(float, (estimate.value, estimate.low, estimate.high))
            texts[method] = (formatting.estimate(*numbers), str(int(estimate.n)))
    return texts


@pytest.mark.parametrize("share", [0.2, 0.5, 0.83])
def test_pointing_at_a_moment_shows_the_values_of_the_frame(
    small: Study, visit: Callable[..., Opened], share: float
) -> None:
    opened = visit(small)
    plot = opened.chart().locator(".plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    opened.page.mouse.move(box["x"] + 50 + share * (box["width"] - 150), box["y"] + 100)
    hours = float(plot.get_attribute("aria-valuenow")) / 3600
    assert 0 < hours < 60 / 3600
    shown = opened.readout()
    assert shown == expected(small, TASK, small.task(TASK).primary, hours)
    assert any(value != "-" for value, _ in shown.values())
    opened.page.mouse.move(0, 0)
    end = expected(small, TASK, small.task(TASK).primary, 60 / 3600)
    assert opened.readout() == end


def test_arrow_keys_move_the_moment(small: Study, visit: Callable[..., Opened]) -> None:
    opened = visit(small)
    plot = opened.chart().locator(".plot")
    plot.focus()
    for key in ("ArrowLeft", "PageDown", "ArrowRight"):
        opened.page.keyboard.press(key)
    now = float(plot.get_attribute("aria-valuenow"))
    assert 0 < now < 60
    assert opened.readout() == expected(small, TASK, small.task(TASK).primary, now / 3600)
    spoken = plot.get_attribute("aria-valuetext")
    assert f"bilevel {opened.readout()['bilevel'][0]}" in spoken
    opened.page.keyboard.press("End")
    assert float(plot.get_attribute("aria-valuenow")) == 60


def test_methods_are_switched_off_on_all_charts(small: Study, visit: Callable[..., Opened]) -> None:
    opened = visit(small)
    everything = opened.lines(0)
    assert len(everything) == len(opened.lines(1)) == 3
    random = opened.chart().get_by_label("random")
    random.focus()
    opened.page.keyboard.press("Space")
    assert set(opened.lines(0)) == set(opened.lines(1)) == set(everything) - {"m1"}
    assert not opened.chart(1).get_by_label("random").is_checked()
    opened.chart(1).get_by_role("button", name="none").click()
    assert opened.lines(0) == {}
    opened.chart(0).get_by_role("button", name="all").click()
    assert opened.lines(0) == everything


def test_metric_and_scales_change_the_curve(small: Study, visit: Callable[..., Opened]) -> None:
    opened = visit(small)
    chart = opened.chart()
    seen = [opened.lines()["m2"]]
    title = chart.locator("svg .title").first
    assert title.text_content() == "FID ↓"
    for group, choice in (("Value", "linear"), ("Time", "linear"), ("Value", "log")):
        chart.get_by_role("group", name=group).get_by_label(choice).check()
        seen.append(opened.lines()["m2"])
    chart.get_by_role("combobox").select_option(label="recall ↑")
    seen.append(opened.lines()["m2"])
    assert title.text_content() == "recall ↑"
    recall = small.task(TASK).metrics[2]
    assert opened.readout() == expected(small, TASK, recall, 60 / 3600)
    moves = opened.page.locator("figure.chart[data-kind=trajectories]").first
    moves.get_by_role("combobox").select_option(label="tau")
    assert moves.get_by_role("group", name="Value").get_by_label("log").is_checked()
    moves.get_by_role("combobox").select_option(label="end")
    assert moves.get_by_role("group", name="Value").get_by_label("linear").is_checked()
    assert len(set(seen)) == len(seen)
    assert not any("NaN" in path for path in seen)


def test_no_log_axis_for_values_that_are_not_positive(
    make_results: Make, visit: Callable[..., Opened]
) -> None:
    study = make_results(tasks=1)
    study.frame.loc[study.frame["metric"] == "recall", "value"] -= 5
    opened = visit(study)
    log = opened.chart().get_by_role("group", name="Value").get_by_label("log")
    assert log.is_enabled()
    opened.chart().get_by_role("combobox").select_option(label="recall ↑")
    assert log.is_disabled()
    assert opened.lines()["m2"]


def test_tables_sort_by_number_and_say_so(small: Study, visit: Callable[..., Opened]) -> None:
    opened = visit(small)
    table = opened.page.get_by_role("table", name="Quality over the budget").first
    keys = "rows => rows.map(row => Number(row.cells[4].dataset.key))"
    header = table.get_by_role("columnheader", name="at the end")
    button = header.get_by_role("button")
    button.focus()
    for direction, sign in (("ascending", 1), ("descending", -1)):
        opened.page.keyboard.press("Enter")
        values = table.locator("tbody tr").evaluate_all(keys)
        assert values == sorted(values, key=lambda value: sign * value)
        assert header.get_attribute("aria-sort") == direction
    table.get_by_role("columnheader", name="method").get_by_role("button").click()
    names = table.locator("tbody th").all_text_contents()
    assert [name.strip() for name in names] == ["default", "random", "bilevel"]
    assert table.locator("[aria-sort]").count() == 1


def test_what_is_missing_sorts_last(make_results: Make, visit: Callable[..., Opened]) -> None:
    study = make_results(tasks=1, methods=("default", "random", "bilevel"))
    study.frame.loc[study.frame["method"] == "default", "value"] = np.nan
    opened = visit(study)
    table = opened.page.get_by_role("table", name="Quality over the budget")
    button = table.get_by_role("columnheader", name="at the end").get_by_role("button")
    for _ in range(2):
        button.click()
        assert table.locator("tbody th").last.text_content().strip() == "default"


@pytest.mark.parametrize("width", [320, 390, 768])
def test_narrow_windows_scroll_in_one_direction(
    make_results: Make, visit: Callable[..., Opened], width: int
) -> None:
    methods = list(registry.all_methods())[-14:]
    opened = visit(hostile(with_samples(make_results(tasks=1, methods=methods))), width)
    assert opened.overflow() == 0
    for details in opened.page.locator("details").all():
        details.evaluate("details => details.open = true")
    assert opened.overflow() == 0
    inside = opened.chart().locator("svg text").evaluate_all(
        "texts => texts.every(t => t.getBoundingClientRect().right <= innerWidth)"
    )  # fmt: skip
    assert inside


def test_what_has_the_focus_is_outlined(small: Study, visit: Callable[..., Opened]) -> None:
    page = visit(small).page
    script = """() => {
        const element = document.activeElement;
        const shown = element.matches(".choice input") ? element.nextElementSibling : element;
        const { outlineStyle, outlineWidth } = getComputedStyle(shown);
        return [element.tagName, outlineStyle !== "none" && parseFloat(outlineWidth) >= 1];
    }"""
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(tuple(page.evaluate(script)))
    assert {"A", "SELECT", "INPUT", "DIV", "BUTTON", "SUMMARY"} <= {tag for tag, _ in seen}
    assert all(outlined for _, outlined in seen), seen


def test_hostile_names_are_only_names(make_results: Make, visit: Callable[..., Opened]) -> None:
    opened = visit(hostile(with_samples(make_results(tasks=1, methods=("default", "random")))))
    page = opened.page
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("[onerror], img[src='x']").count() == 0
    assert list(opened.readout()) == ["default", style.shortened(HOSTILE)]
    assert HOSTILE in page.title()
    title = opened.chart().locator("svg .title").first.text_content()
    assert title.startswith(HOSTILE[:40])
    spoken = opened.chart().locator(".plot").get_attribute("aria-valuetext")
    assert style.shortened(HOSTILE) in spoken
    moves = page.locator("figure.chart[data-kind=trajectories]")
    moves.get_by_role("combobox").select_option(label=HOSTILE)
    assert moves.locator("svg .title").first.text_content().startswith(HOSTILE[:40])


def test_print_shows_curves_and_tables_without_controls(
    small: Study, visit: Callable[..., Opened]
) -> None:
    opened = visit(small, color_scheme="dark")
    page = opened.page
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".controls").first.is_visible()
    assert opened.chart().locator("svg .line").first.is_visible()
    assert page.get_by_role("table", name="Quality over the budget").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_every_colour_can_be_seen_on_both_pages(
    make_results: Make, visit: Callable[..., Opened]
) -> None:
    labels = list(registry.all_methods())
    study = make_results(tasks=1, methods=labels, seeds=1, events=2)
    drawn = """colour => {
        const canvas = new OffscreenCanvas(1, 1).getContext("2d");
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        return "#" + parts.map(part => part.toString(16).padStart(2, "0")).join("");
    }"""
    for scheme in ("light", "dark"):
        page = visit(study, color_scheme=scheme).page
        styles = "lines => [...new Set(lines.map(line => getComputedStyle(line).stroke))]"
        shown = {
            page.evaluate(drawn, c) for c in page.locator("g.curve .line").evaluate_all(styles)
        }
        ground = page.evaluate(
            drawn, page.evaluate("getComputedStyle(document.body).backgroundColor")
        )
        assert ground == {"light": "#ffffff", "dark": "#15171a"}[scheme]
        assert len(shown) > 5
        assert ("#000000" in shown) == (scheme == "light")
        if scheme == "dark":
            assert min(contrast(colour, ground) for colour in shown) >= LEAST_CONTRAST


def test_without_scripts_everything_is_there_to_read(
    small: Study, visit: Callable[..., Opened]
) -> None:
    page = visit(small, java_script_enabled=False).page
    pictures = page.locator(".static img")
    assert pictures.count() == 3  # one figure, and the samples of each task
    assert pictures.first.is_visible()
    assert not page.locator(".controls").first.is_visible()
    assert page.get_by_role("table", name="Quality over the budget").first.is_visible()
