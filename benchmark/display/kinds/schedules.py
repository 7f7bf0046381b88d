"""Which noise schedules are delivered: levels of training, and levels that are sampled at.

A level is a log signal-to-noise ratio. The formulas are those of `tasks.schedule`, by the names of
a task's variables; they are repeated in NumPy because results are drawn where no task is installed.
"""

from __future__ import annotations

import numpy as np

from benchmark.display import style
from benchmark.display.chart import Array, Axis, Chart, Look, Panel, Series, limits
from benchmark.display.kinds.trajectories import representative
from benchmark.study.model import Study, Task

TITLE = "Which schedules are delivered?"
TABLE = 1000
"""Training levels, all equally likely."""
STEPS = 10
"""Sampling levels drawn."""
SPAN, BINS = 12.0, 40
"""Training levels are counted in bins of log-SNR from -12 to 12."""
COSINE = {"width": 1.0, "start": 0.0, "tau": 1.0, "eps": 0.008}
"""Nichol & Dhariwal, 2021 (arXiv 2102.09672); what a task does not tune is fixed to it."""
PUBLISHED = {"start", "end", "tau", "eps"}
PLAN = {"location", "scale", "shape", "sigma_max", "sigma_min", "rho", "arc"}
ROLE = "sampling"
GREYS: tuple[tuple[str, tuple[float, ...]], ...] = (("#999999", (1.5, 0.7)), ("#bbbbbb", ()))
Values = dict[str, float]


def draw(study: Study, task: Task) -> Chart | None:
    """Left the density of training levels, right the sampling levels, of every method's run with
    the median quality; None if the task tunes no family known here, or nothing is delivered."""
    names = {variable.name for variable in task.variables}
    if task.family != "schedule" or not (names <= set(COSINE) or names in (PUBLISHED, PLAN)):
        return None
    plans = {label: found for label in task.methods if (found := delivered(task, label))}
    if not plans:
        return None
    default = {variable.name: variable.default for variable in task.variables}
    fixed = {"the task's default": (default, default), "cosine table": (COSINE, COSINE)}
    looks = {
        name: Look(name, colour, dash=dash, width=2.5)
        for name, (colour, dash) in zip(fixed, GREYS, strict=True)
    }
    looks |= {label: look for label, look in style.looks(study).items() if label in plans}
    ordered = {label: (fixed | plans)[label] for label in looks}
    note = (
        f"{task.name}: levels that the delivered candidate is trained on and samples at, of each "
        f"method's run with the median final {task.primary.label}. Log-SNR: log of signal over "
        "noise variance; noise is on the left and at the first evaluations. Grey: the task's "
        "default point, and the cosine table of Nichol & Dhariwal."
    ) + style.not_ranked(study, plans)
    return Chart("schedules", TITLE, note, looks, _panels(ordered, set(fixed)))


def _panels(plans: dict[str, tuple[Values, Values]], fixed: set[str]) -> list[Panel]:
    trained = {label: density(training(values)) for label, (values, _) in plans.items()}
    sampled = {label: sampling(values) for label, (_, values) in plans.items()}
    marks = {label: "none" if label in fixed else "few" for label in plans}
    steps = np.arange(1, STEPS + 1, dtype=float)
    peaks = [float(height.max()) for _, height in trained.values()]
    top = 1.05 * min(max(peaks), 2 * float(np.median(peaks)))  # tables may pile up at their ends
    return [
        Panel(
            "training", Axis("noise level: log-SNR", False, -SPAN, SPAN),
            Axis("density", False, 0.0, top),
            [Series(x, *trained[x], join="line", marks=marks[x]) for x in plans],
        ),
        Panel(
            "sampling", Axis(f"evaluation (of {STEPS})", False, 0.5, STEPS + 0.5),
            Axis("noise level: log-SNR", False, *limits(sampled.values(), log=False)),
            [Series(x, steps, sampled[x], join="line", marks=marks[x]) for x in plans],
        ),
    ]  # fmt: skip


def delivered(task: Task, label: str) -> tuple[Values, Values] | None:
    """Variables of the training and of the sampling schedule that the representative run delivers;
    None without a run."""
    seed = representative(task, label)
    if seed is None:
        return None
    own = task.events(label, seed)
    last = own[own["event"] == own.loc[own["incumbent"], "event"].max()]
    values = dict(zip(last["metric"], last["value"].astype(float), strict=True))
    names = [variable.name for variable in task.variables]
    if not {f"param:{name}" for name in names} <= values.keys():
        return None
    trained = {name: values[f"param:{name}"] for name in names}
    return trained, {name: values.get(f"shown:{ROLE}: {name}", trained[name]) for name in names}


def training(values: Values) -> Array:
    """`(1000,)` training levels in increasing order; see `tasks.schedule.plans`."""
    if "location" not in values:
        return np.sort(cosine_levels(values))
    from scipy.special import ndtri

    grid = (np.arange(TABLE) + 0.5) / TABLE
    middle = 2 * grid - 1
    laplace = -np.sign(middle) * np.log1p(-np.abs(middle))
    mixed = (1 - values["shape"]) * laplace + values["shape"] * ndtri(grid)
    levels: Array = values["location"] + values["scale"] * mixed
    return np.sort(levels)


def sampling(values: Values, steps: int = STEPS) -> Array:
    """`(steps,)` sampling levels, from the noisy end to the clean one."""
    if "location" not in values:
        table = cosine_levels(values)
        visited: Array = table[np.linspace(0, len(table) - 1, steps).round().astype(int)[::-1]]
        return visited
    first, last, rho, arc = (values[name] for name in ("sigma_max", "sigma_min", "rho", "arc"))
    share = np.linspace(0, 1, steps)
    power = (1 - share) * first ** (1 / rho) + share * last ** (1 / rho)
    angle = (1 - share) * np.arctan(first) + share * np.arctan(last)
    levels: Array = -2 * (1 - arc) * rho * np.log(power) - 2 * arc * np.log(np.tan(angle))
    return levels


def cosine_levels(values: Values) -> Array:
    """`(1000,)` levels of a cosine table from its clean end to its noisy one; as published, `start`
    acts through end - start and shifts by a thousandth only."""
    if "end" in values:
        start = values["start"]
        values = values | {"width": values["end"] - start, "start": start / TABLE}
    values = COSINE | values
    grid = np.linspace(0, 1, TABLE + 1)
    angle = np.minimum(
        (grid * values["width"] + values["start"] + values["eps"]) / (1 + values["eps"]), 1.0
    )
    signal = 2 * values["tau"] * np.log(np.maximum(np.cos(angle * np.pi / 2), 1e-12))
    betas = np.clip(-np.expm1(np.diff(signal)), 1e-8, 0.999)
    alpha_bar = np.cumsum(np.log1p(-betas))
    levels: Array = alpha_bar - np.log(-np.expm1(alpha_bar))
    return levels


def density(levels: Array) -> tuple[Array, Array]:
    """Share of training images per unit of log-SNR: middles of bins and heights."""
    counts, edges = np.histogram(levels, BINS, (-SPAN, SPAN))
    return (edges[1:] + edges[:-1]) / 2, counts / len(levels) / (edges[1] - edges[0])
