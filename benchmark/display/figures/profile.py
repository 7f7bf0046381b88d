"""Normalised scores over all tasks: performance profiles and means."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis import measures
from benchmark.display import style
from benchmark.display.figures import layout
from benchmark.study.model import Study

FROM, TO, STEPS = -1.0, 1.5, 251
"""Scores drawn: from as far below the default as the tuned run is above it, to half beyond."""


def draw(study: Study) -> Figure | None:
    """Left the share of runs above each score, right the mean score over tasks.

    None if no method has runs on every task that has two stored references.
    """
    scores = measures.scores(study)
    means = measures.aggregate(scores)
    if means.empty:
        return None
    methods = [name for name in study.methods if name in set(means["method"])]
    note = _note(study, scores, methods) + layout.not_ranked_note(study, methods)
    names = layout.shown_names(study, methods)
    extra = layout.legend_height(names, style.DOUBLE) + layout.note_height(note, style.DOUBLE)
    height = max(2.1, 0.19 * len(methods) + 0.6)
    figure, (left, right) = layout.panels(2, height, extra=extra)
    _profiles(left, study, scores, methods)
    _means(right, study, means.set_index("method"), methods)
    layout.add_legend(figure, layout.method_handles(study, methods))
    layout.add_note(figure, note)
    return figure


def _profiles(axes: Axes, study: Study, scores: pd.DataFrame, methods: list[str]) -> None:
    thresholds = np.linspace(FROM, TO, STEPS)
    profile = measures.profile(scores, thresholds)
    for order, method in enumerate(methods):
        own = profile[profile["method"] == method]
        look = layout.identity(study, method)
        axes.plot(
            own["threshold"], own["share"], color=look.colour, ls=look.line, lw=look.width,
            marker=look.marker, markevery=(5 * order, STEPS // 5), zorder=3 + order / 100,
        )  # fmt: skip
        if method == study.focus:
            axes.fill_between(
                own["threshold"], own["low"], own["high"], color=look.colour, alpha=0.12, lw=0
            )
    for level in (0.0, 1.0):
        axes.axvline(level, color="#888888", lw=0.6, ls=":", zorder=1)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(FROM, TO)
    axes.grid(axis="y")
    axes.set_xlabel("normalised score τ")
    axes.set_ylabel("share of runs above τ")
    axes.set_title("performance profile")


def _means(axes: Axes, study: Study, means: pd.DataFrame, methods: list[str]) -> None:
    layout.method_rows(axes, study, methods)
    for row, method in enumerate(methods):
        look = layout.identity(study, method)
        found = means.loc[method]
        axes.plot([found["low"], found["high"]], [row, row], color=look.colour, lw=1.2)
        axes.plot(found["mean"], row, ls="", marker=look.marker, ms=4.5, color=look.colour)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, FROM), min(max(high, 1.1), TO))
    for level in (0.0, 1.0):
        axes.axvline(level, color="#888888", lw=0.6, ls=":", zorder=1)
    axes.set_xlabel("normalised score")
    axes.set_title("mean over tasks")


def _note(study: Study, scores: pd.DataFrame, methods: list[str]) -> str:
    tasks = list(dict.fromkeys(scores["task"]))
    left_out = [name for name in dict.fromkeys(scores["method"]) if name not in methods]
    runs = scores[scores["method"].isin(methods)].groupby("method").size()
    bare = [name for name in study.tasks if name not in tasks]
    text = (
        f"Scores at the end of the budget on {', '.join(tasks)}: 0 is the stored default, 1 the "
        f"stored tuned run (dotted), on the log scale for metrics on one; {_count(runs)} per "
        "method. Bands (bilevel, default, random): Wilson 95 %; bars: Welch-Satterthwaite 95 %, "
        "for these tasks; they may leave the axis. Runs without a result are above no score."
    )
    if left_out:
        text += f" Not on every task, so left out: {', '.join(left_out)}."
    return text + (f" Without stored references: {', '.join(bare)}." if bare else "")


def _count(runs: pd.Series) -> str:
    least, most = int(runs.min()), int(runs.max())
    return f"n = {least} runs" if least == most else f"n = {least} to {most} runs"
