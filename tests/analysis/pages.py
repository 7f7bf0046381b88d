"""Results for the tests of the HTML page: with hostile names, and with sample grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from benchmark.study.results import Results

HOSTILE = """</script></title></style><!--<script><img src=x onerror=hacked=1>"'`&{{7*7}}"""


def hostile(results: Results) -> Results:
    """The last method, the task's texts, its metric and its variable are called HOSTILE."""
    last = list(results.methods)[-1]
    task = next(iter(results.tasks))
    described = results.tasks[task]
    metrics = [described["metrics"][0] | {"label": HOSTILE}, *described["metrics"][1:]]
    variables = [described["variables"][0] | {"name": HOSTILE}, *described["variables"][1:]]
    first = f"param:{described['variables'][0]['name']}"
    changes = {"method": {last: HOSTILE}, "metric": {first: f"param:{HOSTILE}"}}
    runs = results.runs.replace({"method": {last: HOSTILE}})
    runs.loc[runs.index[0], ["status", "reason"]] = ["failed", HOSTILE]
    return replace(
        results,
        suite=HOSTILE,
        frame=results.frame.replace(changes),
        runs=runs,
        tasks={
            task: described
            | {
                "description": HOSTILE,
                "metrics": metrics,
                "variables": variables,
                "evaluator": {HOSTILE: HOSTILE},
            }
        },
        methods={
            (HOSTILE if label == last else label): about
            | {"description": HOSTILE, "citation": HOSTILE, "uses": HOSTILE}
            for label, about in results.methods.items()
        },
    )


def with_samples(results: Results, tile: int = 8) -> Results:
    """A grid of 16 tiles for every incumbent, as grey as the number of its trial."""
    frame = results.frame[results.frame["incumbent"]].drop_duplicates(
        ["task", "method", "seed", "trial"]
    )
    runs = results.runs.copy()
    runs["tile"] = tile
    for index, run in runs.iterrows():
        folder = results.folder / "runs" / run["task"] / run["method"] / str(run["seed"])
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        own = (frame["task"] == run["task"]) & (frame["method"] == run["method"])
        for trial in sorted(frame[own & (frame["seed"] == run["seed"])]["trial"]):
            path = folder / "artifacts" / f"samples-{trial:06d}.png"
            Image.fromarray(np.full((2 * tile, 8 * tile), trial, np.uint8)).save(path)
            runs.loc[index, "samples"] = str(path)
    return replace(results, runs=runs)
