"""One self-contained HTML page of a study: works offline, prints, and needs no script to read.

`page.html.jinja`, `report.css` and the scripts are the page; tables and figures are those of
`benchmark.display`. Everything that a user can name is escaped, and the page's own policy forbids
any network and any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.analysis import verdict
from benchmark.analysis.verdict import TaskVerdict
from benchmark.display import style
from benchmark.display.chart import Chart
from benchmark.display.figures import describe, left_out
from benchmark.display.formatting import duration
from benchmark.display.kinds import samples
from benchmark.display.page import content, provenance
from benchmark.display.page.prose import prose
from benchmark.display.table import Block, Table
from benchmark.display.tables import tables
from benchmark.files import write_atomic
from benchmark.study.model import Study, Task

HERE = Path(__file__).parent
NAME = "report.html"
SCRIPTS = ("axes.js", "chart.js", "report.js")
"""In the order in which they make one script."""
TILES = 16
SHARES = (0.1, 0.25, 0.5, 1.0)
"""Moments of the gallery, as shares of the budget."""
KINDS = ("anytime", "cost-to-target", "trajectories", "schedules", "tradeoff", "time")
"""Figures of each task, in this order."""
SHOWN = ("quality", "contrasts", "metrics", "comparisons", "cost_to_target", "usage", "operations")
"""Tables of each task, in this order; all but the first are folded."""


Gallery = tuple[Chart, Sequence[content.Strip]]
"""Samples as they are described, and their pictures."""
Made = TypeVar("Made")


@dataclass
class Section:
    """One task on the page."""

    task: str
    title: str
    verdict: TaskVerdict
    description: str
    facts: Sequence[tuple[str, str]]
    charts: Sequence[int]
    """Numbers of its figures."""
    tables: Sequence[tuple[Table, Block]]
    gallery: Gallery | None


@dataclass
class Page:
    """What is gathered while the page is made."""

    study: Study
    looks: content.Looks = field(default_factory=content.Looks)
    charts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.methods = {label: self.looks[look] for label, look in style.looks(self.study).items()}

    def add(self, what: str, kind: str, task: str | None = None) -> list[int]:
        """The number of the figure, or nothing, with a line, where it cannot be made."""

        def made() -> dict[str, Any] | None:
            chart = describe(self.study, kind, task)
            return content.described(chart, self.looks) | {"kind": chart.name} if chart else None

        found = attempt(what, made)
        self.charts += [found] if found else []
        return [len(self.charts) - 1] if found else []

    def section(self, said: TaskVerdict, made: dict[str, Table]) -> Section:
        study, task = self.study, self.study.task(said.task)
        time = duration(task.budget, task.unit)
        charts: list[int] = []
        for kind in KINDS:
            charts += self.add(f"figure {kind} of {task.name}", kind, task.name)
        found = [(made[name], made[name].block(task.name)) for name in SHOWN if name in made]

        def gallery() -> Gallery | None:
            sheet = samples.draw(study, task, TILES, SHARES)
            return (sheet, content.strips(sheet, self.looks)) if sheet else None

        return Section(
            task=task.name,
            title=f"{task.primary.title}, {time} of {task.unit.device} time",
            verdict=said,
            description=task.description,
            facts=_facts(task),
            charts=charts,
            tables=[(table, block) for table, block in found if block and block.rows],
            gallery=attempt(f"samples of {task.name}", gallery),
        )


def attempt(what: str, make: Callable[[], Made | None]) -> Made | None:
    """What cannot be shown is left out with one line; the page is made."""
    try:
        return make()
    except Exception as error:
        left_out(what, error)
        return None


def write_report(study: Study, folder: Path) -> Path:
    """Write the page as `report.html` into `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    write_atomic(path, render(study).encode(errors="backslashreplace"))
    return path


def render(study: Study) -> str:
    """The whole page; the same results give the same text."""
    page = Page(study)
    made = tables(study)
    said = verdict.verdicts(study)
    sections = [page.section(one, made) for one in said]

    def still() -> str | None:
        overview = describe(study, "anytime")
        return content.still(overview) if overview else None

    profile = page.add("figure profile", "profile")
    css = (HERE / "report.css").read_text(encoding="utf-8") + page.looks.stylesheet()
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["prose"] = prose
    environment.filters["places"] = content.places
    return environment.get_template("page.html.jinja").render(
        suite=study.name,
        overview=_overview(study),
        conclusions=verdict.verdict(study),
        explanation=verdict.EXPLANATION,
        looks=page.looks.for_script(),
        methods=page.methods,
        about=made.get("methods"),
        sections=sections,
        profile=profile,
        settings=attempt("provenance", lambda: provenance.settings(study)) or [],
        runs=provenance.runs(study),
        static=attempt("figure anytime", still),
        data={"looks": page.looks.for_script(), "charts": page.charts},
        css=css,
        script=script,
        policy=_policy(css, script),
    )


def _overview(study: Study) -> list[tuple[str, str]]:
    """How much there is of what, and on which devices."""
    runs = study.runs
    states = runs["status"].value_counts()
    devices = runs["device"].astype(str).str.partition(": ")[2].replace("", "not stated")
    return [
        ("tasks", str(len(study.tasks))),
        ("methods", str(len(study.methods))),
        ("seeds", str(runs["seed"].nunique())),
        ("runs", ", ".join(f"{count} {state}" for state, count in states.items()) or "none"),
        ("device", ", ".join(sorted(set(devices))) or "-"),
    ]


def _facts(task: Task) -> list[tuple[str, str]]:
    return [
        ("budget", duration(task.budget, task.unit)),
        ("seeds", str(task.runs()["seed"].nunique())),
        ("tuned", ", ".join(variable.name for variable in task.variables)),
        ("measured by", task.evaluator),
    ]


def _policy(css: str, script: str) -> str:
    """No network at all; of styles and scripts only the two that are on the page."""
    return (
        f"default-src 'none'; style-src '{_digest(css)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
