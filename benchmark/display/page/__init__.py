"""One self-contained HTML page of a `Results`: works offline, prints, and needs no script to read.

`page.html.jinja`, `report.css` and the scripts are the page; the modules beside them compute
what it shows. Everything that a user can name is escaped, and the page's own policy forbids
any network and any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.analysis import verdict
from benchmark.display.page import charts, looks, provenance, sections
from benchmark.display.page.prose import prose
from benchmark.study.model import Study

HERE = Path(__file__).parent
NAME = "report.html"
SCRIPTS = ("axes.js", "chart.js", "report.js")
"""In the order in which they make one script."""


def write_report(study: Study, folder: Path) -> Path:
    """Write the page as `report.html` into `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    path.write_text(render(study), encoding="utf-8")
    return path


def render(study: Study) -> str:
    """The whole page; the same results give the same text."""
    drawn = looks.looks(study)
    css = (HERE / "report.css").read_text(encoding="utf-8") + looks.stylesheet(drawn)
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["prose"] = prose
    said = verdict.verdicts(study)
    return environment.get_template("page.html.jinja").render(
        suite=study.name,
        overview=sections.overview(study),
        conclusions=verdict.verdict(study),
        explanation=verdict.EXPLANATION,
        looks=drawn,
        methods=sections.methods(study),
        tasks=sections.sections(study, said),
        settings=provenance.settings(study),
        cells=provenance.cells(study),
        static=charts.static(study),
        data={
            "methods": [look.for_script() for look in drawn],
            "charts": charts.charts(study),
        },
        css=css,
        script=script,
        policy=_policy(css, script),
    )


def _policy(css: str, script: str) -> str:
    """No network at all; of styles and scripts only the two that are on the page."""
    return (
        f"default-src 'none'; style-src '{_digest(css)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
