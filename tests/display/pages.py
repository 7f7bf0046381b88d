"""Results for the tests of the HTML page: with hostile names, and with sample grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from benchmark.study.model import Study

HOSTILE = """</script></title></style><!--<script><img src=x onerror=hacked=1>"'`&{{7*7}}"""


LEAST_CONTRAST = 3.0
"""What WCAG 2.2 asks of graphics against their background (success criterion 1.4.11)."""


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours `#rrggbb`, 1 to 21 (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [part / 255 for part in bytes.fromhex(colour[1:])]
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def hostile(study: Study) -> Study:
    """The last method, the task's texts, its metric and its variable are called HOSTILE."""
    last = list(study.methods)[-1]
    task = next(iter(study.tasks))
    described = study.task_facts[task]
    metrics = [described["metrics"][0] | {"label": HOSTILE}, *described["metrics"][1:]]
    variables = [described["variables"][0] | {"name": HOSTILE}, *described["variables"][1:]]
    first = f"param:{described['variables'][0]['name']}"
    changes = {"method": {last: HOSTILE}, "metric": {first: f"param:{HOSTILE}"}}
    runs = study.runs.replace({"method": {last: HOSTILE}})
    runs.loc[runs.index[0], ["status", "reason"]] = ["failed", HOSTILE]
    return replace(
        study,
        name=HOSTILE,
        frame=study.frame.replace(changes),
        runs=runs,
        task_facts={
            task: described
            | {
                "description": HOSTILE,
                "metrics": metrics,
                "variables": variables,
                "evaluator": {HOSTILE: HOSTILE},
            }
        },
        method_facts={
            (HOSTILE if label == last else label): about
            | {"description": HOSTILE, "citation": HOSTILE, "uses": HOSTILE}
            for label, about in study.method_facts.items()
        },
    )


def with_samples(study: Study, tile: int = 8) -> Study:
    """A grid of 16 tiles for every incumbent, as grey as the number of its trial."""
    frame = study.frame[study.frame["incumbent"]].drop_duplicates(
        ["task", "method", "seed", "trial"]
    )
    runs = study.runs.copy()
    runs["tile"] = tile
    for index, run in runs.iterrows():
        folder = study.folder / "runs" / run["task"] / run["method"] / str(run["seed"])
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        own = (frame["task"] == run["task"]) & (frame["method"] == run["method"])
        for trial in sorted(frame[own & (frame["seed"] == run["seed"])]["trial"]):
            path = folder / "artifacts" / f"samples-{trial:06d}.png"
            Image.fromarray(np.full((2 * tile, 8 * tile), trial, np.uint8)).save(path)
            runs.loc[index, "samples"] = str(path)
    return replace(study, runs=runs)


def with_references(study: Study) -> Study:
    facts = {
        name: {
            **facts,
            "references": {
                "default": {facts["metrics"][0]["name"]: 2.0},
                "tuned": {facts["metrics"][0]["name"]: 1.0},
            },
        }
        for name, facts in study.task_facts.items()
    }
    return replace(study, task_facts=facts)
