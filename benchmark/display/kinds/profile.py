"""How the methods do over all tasks: performance profile and mean of normalised scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from benchmark.analysis import measures
from benchmark.display import style
from benchmark.display.chart import Axis, Chart, Panel, Rule, Series
from benchmark.display.kinds import words
from benchmark.study.model import Study, Task

TITLE = "How do the methods do over all tasks?"
FROM, TO, STEPS = -1.0, 1.5, 251
"""Scores drawn: from as far below the default as the tuned run is above it, to half beyond."""
REFERENCES = [Rule("x", 0.0, dashed=False), Rule("x", 1.0, dashed=False)]


def draw(study: Study, tasks: Sequence[Task]) -> Chart | None:
    """Left the share of runs above each score, right the mean score over tasks.

    None if no method has runs on every task that has two stored references.
    """
    scores = measures.scores(study)
    means = measures.aggregate(scores)
    if means.empty:
        return None
    present = set(means["method"])
    looks = {label: look for label, look in style.looks(study).items() if label in present}
    profile = measures.profile(scores, np.linspace(FROM, TO, STEPS))
    banded = {study.focus} if study.focus else set(list(looks)[:2])
    series = [
        Series(
            label, own["threshold"].to_numpy(), own["share"].to_numpy(), own["low"].to_numpy(),
            own["high"].to_numpy(), n=own["n"].to_numpy(), join="line", marks="few",
            band=label in banded,
        )
        for label in looks
        for own in [profile[profile["method"] == label]]
    ]  # fmt: skip
    means = means.set_index("method").loc[list(looks)]
    dots = [
        Series(
            str(label), np.array([row["mean"]]), np.array([float(place)]),
            left=np.array([row["low"]]),
            right=np.array([row["high"]]), n=np.array([row["n"]]),
        )
        for place, (label, row) in enumerate(means.iterrows())
    ]  # fmt: skip
    seen = means["mean"].to_numpy()
    low = max(min(0.0, float(np.nanmin(seen, initial=0.0))) - 0.2, FROM)
    high = min(max(1.1, float(np.nanmax(seen, initial=0.0)) + 0.2), TO)
    panels = [
        Panel(
            "performance profile", Axis("normalised score τ", False, FROM, TO),
            Axis("share of runs above τ", False, -0.02, 1.02), series, REFERENCES,
        ),
        Panel(
            "mean over tasks", Axis("normalised score", False, low, high),
            words.rows(looks, list(looks)), dots, REFERENCES,
        ),
    ]  # fmt: skip
    note = _note(study, scores, looks, banded) + words.not_ranked(study, looks)
    return Chart("profile", TITLE, note, looks, panels, height=max(2.1, 0.19 * len(looks) + 0.6))


def _note(study: Study, scores: pd.DataFrame, looks: Mapping[str, object], banded: set[str]) -> str:
    tasks = list(dict.fromkeys(scores["task"]))
    left_out = [name for name in dict.fromkeys(scores["method"]) if name not in looks]
    runs = scores[scores["method"].isin(list(looks))].groupby("method").size()
    bare = [name for name in study.tasks if name not in tasks]
    count = f"n = {runs.min()}" + (f" to {runs.max()}" if runs.min() != runs.max() else "")
    names = ", ".join(style.shortened(name) for name in looks if name in banded)
    text = (
        f"Scores at the end of the budget on {', '.join(tasks)}: 0 is the stored default, 1 the "
        f"stored tuned run (dotted), on the log scale for metrics on one; {count} runs per method. "
        f"Band ({names}): Wilson 95 %; bars: Welch-Satterthwaite 95 %, for these tasks; they may "
        "leave the axis. Runs without a result are above no score."
    )
    if left_out:
        text += f" Not on every task, so left out: {words.few(left_out)}."
    return text + (f" Without stored references: {', '.join(bare)}." if bare else "")
