"""Learned noise schedules beside the fixed ones: share of signal, and signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.display import style
from benchmark.display.figures import layout
from benchmark.display.figures.trajectories import representative
from benchmark.study.model import Study

Array = npt.NDArray[np.float64]
STEPS = 1000
VARIABLES = {"width", "start", "tau", "eps"}
"""What defines a schedule of the cosine family; those that a task does not tune are fixed."""
PUBLISHED = {"start", "end", "tau", "eps"}
"""The same as the code released with arXiv 2502.08808 has it: of the first two only end - start
acts, for `start` is divided by the number of steps."""
FIXED = {"width": 1.0, "start": 0.0, "tau": 1.0, "eps": 0.008}
"""The cosine schedule of Nichol & Dhariwal, 2021 (arXiv 2102.09672)."""
ROLE = "sampling: "
GREY: dict[str, Any] = {"color": "#bbbbbb", "lw": 3}


def cosine(width: float, start: float, tau: float, eps: float) -> Array:
    """`(1000,)` alpha_bar of the cosine family; see `tasks.schedule.schedules.cosine`."""
    u = np.linspace(0, 1, STEPS + 1)
    angle = np.minimum((u * width + start + eps) / (1 + eps), 1.0) * np.pi / 2
    log_signal = 2 * tau * np.log(np.maximum(np.cos(angle), 1e-12))
    return _from_betas(-np.expm1(np.diff(log_signal)))


def linear() -> Array:
    """`(1000,)` alpha_bar of Ho et al., 2020 (arXiv 2006.11239): betas from 1e-4 to 0.02."""
    return _from_betas(np.linspace(1e-4, 0.02, STEPS))


def log_snr(alpha_bar: Array) -> Array:
    """log of signal variance over noise variance."""
    ratio: Array = np.log(alpha_bar) - np.log1p(-alpha_bar)
    return ratio


def draw(study: Study, task: str) -> Figure | None:
    """What each method samples under at the end; None if the task tunes no cosine schedule."""
    if not tuned(study, task):
        return None
    curves = {
        method: cosine(**FIXED | delivered)
        for method in study.methods
        if (delivered := sampled_under(study, task, method))
    }
    if not curves:
        return None
    note = (
        f"{task}: the schedule that the delivered candidate samples under, of the run with the "
        f"median final {study.task(task).primary.label} of each method, over the 1000 steps "
        "of the forward process (t / T). Grey: the fixed schedules of Ho et al. (linear) and "
        "Nichol & Dhariwal (cosine), the latter being the default."
    ) + layout.not_ranked_note(study, curves)
    names = layout.shown_names(study, curves)
    extra = layout.legend_height([*names, "linear, fixed", "cosine, fixed"], style.DOUBLE)
    extra += layout.note_height(note, style.DOUBLE)
    figure, panels = layout.panels(2, 2.4, extra=extra)
    time = np.arange(1, STEPS + 1) / STEPS
    fixed = {"linear, fixed": (linear(), (0, (1.5, 0.7))), "cosine, fixed": (cosine(**FIXED), "-")}
    handles = [Line2D([], [], label=name, ls=line, **GREY) for name, (_, line) in fixed.items()]
    quantities: list[tuple[Callable[[Array], Array], str]] = [
        (np.asarray, "signal variance ᾱ"), (log_snr, "log-SNR: log ᾱ / (1 - ᾱ)")
    ]  # fmt: skip
    for axes, (shown, label) in zip(panels, quantities, strict=True):
        for curve, line in fixed.values():
            axes.plot(time, shown(curve), ls=line, zorder=1, **GREY)
        for order, (method, curve) in enumerate(curves.items()):
            look = layout.identity(study, method)
            axes.plot(
                time, shown(curve), color=look.colour, ls=look.line, lw=look.width,
                marker=look.marker, markevery=(80 + 25 * order, 300), zorder=3 + order / 100,
            )  # fmt: skip
        axes.set_xlabel("step t / T")
        axes.set_ylabel(label)
        axes.grid()
    panels[1].set_ylim(-13, 10)
    layout.add_legend(figure, [*handles, *layout.method_handles(study, curves)])
    layout.add_note(figure, note)
    return figure


def tuned(study: Study, task: str) -> bool:
    """Whether the task tunes a schedule of the cosine family."""
    names = _variables(study, task)
    known = names <= VARIABLES or names == PUBLISHED
    return study.task(task).family == "schedule" and known


def _variables(study: Study, task: str) -> set[str]:
    return {variable.name for variable in study.task(task).variables}


def sampled_under(study: Study, task: str, method: str) -> dict[str, float] | None:
    """Variables of `cosine` for the sampling schedule that the representative run delivers; for
    the training schedule if it has no other. None without a run."""
    seed = representative(study, task, method)
    if seed is None:
        return None
    own = study.task(task).events(method, seed)
    last = own[own["event"] == own.loc[own["incumbent"], "event"].max()]
    values: pd.Series = last.set_index("metric")["value"]
    names = _variables(study, task)
    delivered = _named(values, "param:", names) | _named(values, f"shown:{ROLE}", names)
    if delivered.keys() == PUBLISHED:
        start = delivered["start"]
        delivered |= {"width": delivered.pop("end") - start, "start": start / STEPS}
    return delivered


def _named(values: pd.Series, prefix: str, names: set[str]) -> dict[str, float]:
    return {
        name.removeprefix(prefix): float(value)
        for name, value in values.items()
        if isinstance(name, str) and name.startswith(prefix) and name.removeprefix(prefix) in names
    }


def _from_betas(betas: Array) -> Array:
    alpha_bar: Array = np.exp(np.cumsum(np.log1p(-np.clip(betas, 1e-8, 0.999))))
    return alpha_bar
