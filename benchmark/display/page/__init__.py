"""One self-contained HTML page of a study: works offline, prints, and needs no script to read.

`page.html.jinja`, `report.css` and the scripts are the page; tables and figures are those of
`benchmark.display`. Everything that a user can name is escaped, and the page's own policy forbids
any network and any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.analysis import verdict, words
from benchmark.analysis.verdict import TaskVerdict
from benchmark.display import style
from benchmark.display.chart import Chart
from benchmark.display.figures import describe, left_out_if_broken
from benchmark.display.formatting import duration
from benchmark.display.page import content, provenance
from benchmark.display.table import Block, Table
from benchmark.display.tables import tables
from benchmark.files import write_atomic
from benchmark.study.model import Study, Task

HERE = Path(__file__).parent
NAME = "report.html"
SCRIPTS = ("axes.js", "chart.js", "report.js")
"""In the order in which they make one script."""
KINDS = ("anytime", "trajectories", "schedules", "tradeoff", "time")
"""Figures of each task, in this order."""
SHOWN = ("quality", "contrasts", "metrics", "comparisons", "cost_to_target", "usage")
"""Tables of each task, in this order; all but the first are folded."""


@dataclass
class Section:
    """One task on the page."""

    task: Task
    verdict: TaskVerdict
    charts: Sequence[dict[str, Any]]
    tables: Sequence[tuple[Table, Block]]
    samples: tuple[Chart, str] | None
    """Samples as they are described, and their picture."""

    @property
    def facts(self) -> list[tuple[str, str]]:
        task = self.task
        return [
            ("budget", f"{duration(task.budget, task.unit)} of {task.unit.device} time"),
            ("seeds", str(task.runs()["seed"].nunique())),
            ("tuned", ", ".join(variable.name for variable in task.variables)),
            ("measured by", task.evaluator),
        ]


class Page:
    """The parts of the page, and what its script needs of them."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.looks = content.Looks()
        self.charts: list[dict[str, Any]] = []
        self.methods = {label: self.looks[look] for label, look in style.looks(study).items()}
        made = tables(study)
        self.about = made.get("methods")
        self.sections = [self._section(said, made) for said in verdict.verdicts(study)]

    def _section(self, said: TaskVerdict, made: dict[str, Table]) -> Section:
        task = self.study.task(said.task)
        charts = [chart for kind in KINDS if (chart := self._chart(kind, task))]
        blocks = [(made[name], made[name].block(task.name)) for name in SHOWN if name in made]
        filled = [(table, block) for table, block in blocks if block and block.numbers]
        return Section(task, said, charts, filled, self.picture("samples", task.name))

    def _chart(self, kind: str, task: Task) -> dict[str, Any] | None:
        """The figure with its number on the page; None where there is none."""
        with left_out_if_broken(f"figure {kind} of {task.name}"):
            if chart := describe(self.study, kind, task.name):
                place = {"kind": kind, "number": len(self.charts)}
                self.charts.append(content.described(chart, self.looks) | place)
                return self.charts[-1]
        return None

    def picture(self, kind: str, task: str | None = None) -> tuple[Chart, str] | None:
        """A figure that does not move; None where there is none."""
        with left_out_if_broken(f"figure {kind} of {task or self.study.name}"):
            if chart := describe(self.study, kind, task):
                return chart, content.picture(chart)
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
    settings: Sequence[provenance.Setting] = ()
    with left_out_if_broken("provenance"):
        settings = provenance.settings(study)
    looks = page.looks.for_script()
    css = (HERE / "report.css").read_text(encoding="utf-8") + page.looks.stylesheet()
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    templates = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return templates.get_template("page.html.jinja").render(
        suite=study.name,
        overview=_overview(study),
        conclusions=verdict.verdict(study),
        explanation=verdict.EXPLANATION,
        looks=looks,
        methods=page.methods,
        about=page.about,
        sections=page.sections,
        settings=settings,
        runs=provenance.runs(study),
        still=page.picture("anytime"),
        data={"looks": looks, "charts": page.charts},
        css=css,
        script=script,
        policy=_policy(css, script),
    )


def _overview(study: Study) -> list[tuple[str, str]]:
    """How much there is of what, and on which devices."""
    runs = study.runs
    devices = runs["device"].astype(str).str.partition(": ")[2].replace("", "not stated")
    return [
        ("tasks", str(len(study.tasks))),
        ("methods", str(len(study.methods))),
        ("seeds", str(runs["seed"].nunique())),
        ("runs", words.tally(runs["status"])),
        ("device", ", ".join(sorted(set(devices))) or "-"),
    ]


def _policy(css: str, script: str) -> str:
    """No network at all; of styles and scripts only the two that are on the page."""
    return (
        f"default-src 'none'; style-src '{_digest(css)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
