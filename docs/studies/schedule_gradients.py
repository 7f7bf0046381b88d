"""Measure gradient estimators of a schedule's Fréchet distance: bias, noise and cost.

    python docs/studies/schedule_gradients.py                 # a few minutes on one core
    python docs/studies/schedule_gradients.py --draw          # the figure again, from the JSON

On a half-trained network of `schedule/digits`, and on `schedule/gaussian`, where the truth is
known, zeroth-order differences and the pathwise gradient estimate the partial gradient dF/dq: the
network stays as it is and the schedule moves. The reference is the mean of pathwise gradients
of many images, on the Gaussian the exact gradient. Estimates of F from few images are biased, so
no estimator from few images tends to the reference exactly.

The second part asks how the hypergradient, where the network follows the schedule, compares:
exact on the Gaussian, by differences of whole trainings from one seed, and by the penalty form of
`methods.bilevel`.

Everything is in the unit cube of the task's space. `results/reference/gradients/` holds what
this writes: gradients.json, and figures as PNG and PDF.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from torch import Tensor

from benchmark.display import style
from methods.bilevel.penalty import penalty_gradient
from methods.bilevel.schedule import Options
from tasks.diffusion import ddim
from tasks.schedule.base import ScheduleTask
from tasks.schedule.digits import ScheduleDigits
from tasks.schedule.estimators import coordinate, two_point
from tasks.schedule.gaussian import ScheduleGaussian
from tasks.schedule.training import Training

BLACK, GREY, SKY, GREEN = "#000000", "#777777", "#56B4E9", "#009E73"
ORANGE, VERMILION = "#E69F00", "#D55E00"
SOLID, DASHED, DOTTED = "-", (0, (4, 1.6)), (0, (1, 1.4))

FOLDER = Path("results/reference/gradients")
PLACES = {
    "schedule/digits": {"width": 0.9, "start": 0.05, "tau": 1.2, "eps": 0.012},
    "schedule/gaussian": {"width": 0.95, "tau": 2.0},
}
"""Where gradients are measured: inside the box, so that both sides of a difference are; on the
Gaussian where the partial gradient and the hypergradient differ most."""
STOPS = {"schedule/digits": (2.0, 4.0), "schedule/gaussian": (1.5, 3.0)}
"""Standard trials after which gradients are measured, and that the training plans for."""
SEED = 10_001
SAMPLES = (36, 128)
"""Images per value of F: the paper's, and those of `methods.bilevel`."""
RADIUS = 0.02
"""In the unit cube; the published 0.01 is 0.025 of the width's range, 0.003 of tau's."""
RADII = (0.005, 0.02, 0.08, 0.32)
REPEATS = 24
LONG = {"schedule/digits": (1500, 8), "schedule/gaussian": (4000, 8)}
"""Images and repetitions of the long pathwise reference."""
PENALTIES = {"schedule/digits": 2, "schedule/gaussian": 8}
TRAININGS = {"schedule/digits": 2, "schedule/gaussian": 3}
"""Differences of whole trainings along all coordinates."""
TRAINING_RADIUS = 0.1
TRAINING_SAMPLES = 2000
LOOKAHEAD_GAMMA = Options().lookahead_gamma

Estimate = Callable[[torch.Generator], Tensor]


class Count:
    """A meter that counts evaluations of the network, backward passes not among them."""

    def __init__(self) -> None:
        self.evaluations = 0

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        yield
        self.evaluations += work.get("nfe", 0) + work.get("train_images", 0)


class Bench:
    """One task at one place, with a network on its way there."""

    def __init__(self, task: ScheduleTask) -> None:
        self.task, self.place = task, PLACES[task.name]
        task.setup()
        trained = next(iter(task.iterate(self.place, STOPS[task.name], SEED)))
        assert trained.resume is not None
        self.training: Training = task.begin(SEED)
        self.training.load_state_dict(trained.resume["training"])
        self.position = torch.tensor(task.space.to_unit(self.place), dtype=torch.float64)
        task.meter = self.count = Count()

    def distance(self, position: Tensor, seed: int, samples: int) -> Tensor:
        """F of the average network, from the noise of a seed."""
        noise = self.task.noise(samples, self.task.generator(seed))
        table = self.task.alpha_bar(position)
        return self.task.frechet(self.task.sample(self.training.ema, table, noise))

    def pathwise(self, samples: int) -> Estimate:
        def estimate(generator: torch.Generator) -> Tensor:
            moving = self.position.clone().requires_grad_()
            table, noise = self.task.alpha_bar(moving), self.task.noise(samples, generator)
            self.task.frechet_gradient(self.training.ema, table, noise)
            return gradient_of(moving)

        return estimate

    def zeroth(
        self, samples: int, radius: float, directions: int = 1, common: bool = True
    ) -> Estimate:
        return lambda generator: two_point(
            lambda q, seed: self.distance(q, seed, samples),
            self.position, radius, generator, directions, common=common,
        )  # fmt: skip

    def coordinates(self, samples: int, radius: float) -> Estimate:
        return lambda generator: coordinate(
            lambda q, seed: self.distance(q, seed, samples), self.position, radius, generator
        )

    def at_radius(self, samples: int, radius: float) -> dict[str, Estimate]:
        return {
            "fresh noise": self.zeroth(samples, radius, common=False),
            "common noise": self.zeroth(samples, radius),
            "common noise, coordinates": self.coordinates(samples, radius),
        }

    def estimators(self, samples: int) -> dict[str, Estimate]:
        return self.at_radius(samples, RADIUS) | {
            "common noise, 4 directions": self.zeroth(samples, RADIUS, 4),
            "pathwise": self.pathwise(samples),
        }

    def penalty(self) -> Estimate:
        """The hypergradient's penalty form, as `methods.bilevel` makes it."""
        task = self.task
        noise = task.noise(SAMPLES[-1], task.generator(SEED))
        table = task.alpha_bar(self.position)
        distance = task.frechet(task.sample(self.training.ema, table, noise))
        batch = task.batch(task.generator(SEED))
        loss = task.loss(self.training.ema, table, batch)
        weight = float(loss / distance) / LOOKAHEAD_GAMMA
        lookahead = Options().looking_ahead()
        return lambda generator: penalty_gradient(
            task, self.training, self.position, weight, lookahead, generator
        )

    def retrained(self) -> Estimate:
        """Differences over whole trainings: the hypergradient as it is."""

        def objective(position: Tensor, seed: int) -> Tensor:
            task = self.task
            training, table = task.begin(seed), task.alpha_bar(position)
            now, planned = STOPS[task.name]
            for step in range(self.training.step):
                share = step / self.training.step * now / planned
                task.train_step(training, table, share)
            noise = task.noise(TRAINING_SAMPLES, task.generator(seed))
            return task.frechet(task.sample(training.ema, table, noise))

        return lambda generator: coordinate(objective, self.position, TRAINING_RADIUS, generator)

    def generator(self, index: int) -> torch.Generator:
        return self.task.generator(1000 * SEED + index)


def gradient_of(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def exact_partial(bench: Bench) -> Tensor:
    """dF/dq on the Gaussian at the weights of `bench`: sampling is linear, so one image will do."""
    task = bench.task
    assert isinstance(task, ScheduleGaussian)
    net = task.begin(0).net.double().requires_grad_(False)
    net.load_state_dict(bench.training.ema.state_dict())
    moving = bench.position.clone().requires_grad_()
    ones = torch.ones_like(task.train_images[:1], dtype=torch.float64)
    scales = task.scales.double()
    ddim.pathwise_backward(
        net, task.alpha_bar(moving), ones,
        lambda x: (x.flatten().abs() - scales).square().sum(), bench.count, task.clip,
    )  # fmt: skip
    return gradient_of(moving)


def exact_hypergradient(bench: Bench) -> Tensor:
    task = bench.task
    assert isinstance(task, ScheduleGaussian)
    moving = bench.position.clone().requires_grad_()
    torch.autograd.backward(task.truth(moving))
    return gradient_of(moving)


def repeat(bench: Bench, estimate: Estimate, repeats: int) -> tuple[Tensor, float, int]:
    """Estimates `(repeats, d)`, median processor seconds and network evaluations of one."""
    found, seconds = [], []
    before = bench.count.evaluations
    for index in range(repeats):
        generator = bench.generator(index)
        started = time.process_time()
        found.append(estimate(generator))
        seconds.append(time.process_time() - started)
    evaluations = (bench.count.evaluations - before) // repeats
    return torch.stack(found), statistics.median(seconds), evaluations


def described(values: Tensor, reference: Tensor) -> dict[str, Any]:
    """Bias and noise of estimates `(n, d)` against a reference `(d,)`."""
    cosines = torch.cosine_similarity(values, reference[None], dim=1)
    spread = values.std(dim=0)
    return {
        "repeats": len(values),
        "mean": rounded(values.mean(dim=0)),
        "bias": rounded(values.mean(dim=0) - reference),
        "bias_error": rounded(spread / len(values) ** 0.5),
        "sd": rounded(spread),
        "noise_to_signal": digits(spread.norm() / reference.norm()),
        "bias_to_signal": digits((values.mean(dim=0) - reference).norm() / reference.norm()),
        "cosine_of_mean": digits(
            torch.cosine_similarity(values.mean(dim=0), reference, dim=0)
        ),
        "cosines": rounded(cosines),
        "right_half": digits((cosines > 0).double().mean()),
    }  # fmt: skip


def rounded(values: Tensor) -> list[float]:
    return [digits(value) for value in values]


def digits(value: Tensor | float) -> float:
    return float(f"{float(value):.4g}")


def measure(task: ScheduleTask) -> dict[str, Any]:
    """Everything about one task."""
    bench = Bench(task)
    samples, repeats = LONG[task.name]
    values, seconds, _ = repeat(bench, bench.pathwise(samples), repeats)
    long = values.mean(dim=0)
    reference = exact_partial(bench) if isinstance(task, ScheduleGaussian) else long
    result: dict[str, Any] = {
        "place": bench.place,
        "variables": list(task.space.names),
        "training_steps": bench.training.step,
        "distance": digits(bench.distance(bench.position, SEED, 2000)),
        "reference": {
            "kind": "exact" if isinstance(task, ScheduleGaussian) else "pathwise",
            "gradient": rounded(reference),
            "pathwise_images": samples,
            "pathwise_repeats": repeats,
            "pathwise_mean": rounded(long),
            "pathwise_error": rounded(values.std(dim=0) / repeats**0.5),
            "pathwise_seconds": digits(seconds * repeats),
        },
        "estimators": [],
        "radii": [],
    }
    for count in SAMPLES:
        for name, estimate in bench.estimators(count).items():
            values, seconds, evaluations = repeat(bench, estimate, REPEATS)
            row = {
                "estimator": name, "samples": count,
                "seconds": digits(seconds), "evaluations": evaluations,
            } | described(values, reference)  # fmt: skip
            result["estimators"].append(row)
            show(task.name, row)
    for radius in RADII:
        for name, estimate in bench.at_radius(SAMPLES[-1], radius).items():
            values, _, _ = repeat(bench, estimate, REPEATS)
            result["radii"].append(
                {"estimator": name, "radius": radius, "samples": SAMPLES[-1]}
                | described(values, reference)
            )
    result["hypergradient"] = hypergradient(bench, reference)
    return result


def hypergradient(bench: Bench, partial: Tensor) -> dict[str, Any]:
    """The total derivative, exact where it is known, else from whole trainings; beside it the
    partial gradient and the penalty form."""
    values, seconds, evaluations = repeat(bench, bench.retrained(), TRAININGS[bench.task.name])
    exact = isinstance(bench.task, ScheduleGaussian)
    total = exact_hypergradient(bench) if exact else values.mean(dim=0)
    rows = [
        {"estimator": "whole trainings", "samples": TRAINING_SAMPLES, "seconds": digits(seconds),
         "evaluations": evaluations} | described(values, total)
    ]  # fmt: skip
    values, seconds, evaluations = repeat(bench, bench.penalty(), PENALTIES[bench.task.name])
    rows.append(
        {"estimator": "penalty", "samples": SAMPLES[-1], "seconds": digits(seconds),
         "evaluations": evaluations} | described(values, total)
    )  # fmt: skip
    for row in rows:
        show(bench.task.name, row)
    result = {
        "kind": "exact" if exact else "mean of whole trainings",
        "gradient": rounded(total),
        "cosine_of_partial": digits(torch.cosine_similarity(partial, total, dim=0)),
        "estimators": rows,
    }
    print(f"{bench.task.name:18} cosine of the partial gradient {result['cosine_of_partial']}")
    return result


def show(task: str, row: dict[str, Any]) -> None:
    print(
        f"{task:18} {row['estimator']:28} {row['samples']:4} images {1e3 * row['seconds']:8.1f} ms "
        f"{row['evaluations']:7} evaluations  noise/signal {row['noise_to_signal']:8.3g}  "
        f"cosine {statistics.mean(row['cosines']):5.2f} (of the mean {row['cosine_of_mean']:5.2f})",
        flush=True,
    )


# -- the figure -----------------------------------------------------------------------------

LOOKS = {
    "fresh noise": (VERMILION, "o"),
    "common noise": (ORANGE, "s"),
    "common noise, 4 directions": (GREEN, "^"),
    "common noise, coordinates": (SKY, "D"),
    "pathwise": (BLACK, "*"),
}
TITLES = {"schedule/digits": "Digits", "schedule/gaussian": "Gaussian"}


def draw(report: dict[str, Any]) -> Figure:
    """A row per task: noise against cost, cosines, and noise against radius."""
    tasks = report["tasks"]
    figure = Figure(figsize=(style.DOUBLE, 2.15 * len(tasks) + 0.35), layout="constrained")
    axes = figure.subplots(len(tasks), 3, squeeze=False, width_ratios=(1.1, 1, 1))
    for row, (name, content) in zip(axes, tasks.items(), strict=True):
        draw_costs(row[0], content["estimators"])
        draw_cosines(row[1], content["estimators"])
        draw_radii(row[2], content["radii"])
        few, many = SAMPLES
        row[0].set_title(f"{TITLES[name]}, {few} images (open) and {many}", loc="left")
        row[1].set_title(f"{TITLES[name]}, {many} images", loc="left")
        row[2].set_title(f"{TITLES[name]}, {many} images", loc="left")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(LOOKS))
    return figure


def draw_costs(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Filled marks are many images, open ones few; estimates of one worth lie on a grey line."""
    for row in rows:
        colour, marker = LOOKS[row["estimator"]]
        many = row["samples"] == SAMPLES[-1]
        axis.plot(
            1e3 * row["seconds"], row["noise_to_signal"], marker, color=colour, linestyle="",
            markersize=7 if marker == "*" else 4.5, markerfacecolor=colour if many else "none",
            label=row["estimator"] if many else None,
        )  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="Processor milliseconds", ylabel="Noise / signal")
    axis.axhline(1, color=GREY, linewidth=0.6, linestyle=DOTTED)
    axis.margins(0.12)
    limits = axis.get_xlim(), axis.get_ylim()
    span = np.array(limits[0])
    for worth in np.geomspace(1e-3, 1e4, 15):
        axis.plot(span, worth / span**0.5, color="#dddddd", linewidth=0.5, zorder=0)
    axis.set(xlim=limits[0], ylim=limits[1])
    plain_ticks(axis.xaxis)
    plain_ticks(axis.yaxis, (1,))


def draw_cosines(axis: Any, rows: list[dict[str, Any]]) -> None:
    shown = [row for row in rows if row["samples"] == SAMPLES[-1]]
    for height, row in enumerate(reversed(shown)):
        colour, _ = LOOKS[row["estimator"]]
        cosines = np.array(row["cosines"])
        jitter = np.linspace(-0.25, 0.25, len(cosines))[np.argsort(np.argsort(cosines * 1e3 % 1))]
        axis.plot(cosines, height + jitter, ".", color=colour, markersize=3, alpha=0.7)
        axis.plot([cosines.mean()] * 2, [height - 0.35, height + 0.35], color=colour)
    axis.axvline(0, color=GREY, linewidth=0.6, linestyle=DOTTED)
    axis.set(xlim=(-1.05, 1.05), yticks=[], xlabel="Cosine with the reference")


def draw_radii(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Noise of one direction, and the bias, which the coordinates show best."""
    for name in ("fresh noise", "common noise", "common noise, coordinates"):
        colour, marker = LOOKS[name]
        chosen = [row for row in rows if row["estimator"] == name]
        radii = [row["radius"] for row in chosen]
        is_bias = name.endswith("coordinates")
        heights = [row["bias_to_signal" if is_bias else "noise_to_signal"] for row in chosen]
        line = DASHED if is_bias else SOLID
        axis.plot(radii, heights, marker=marker, color=colour, linestyle=line)
        axis.annotate(
            "bias" if is_bias else "noise", (radii[0], heights[0]), fontsize=6.5, color=colour,
            xytext=(5, -4) if is_bias else (0, 5), va="top" if is_bias else "baseline",
            textcoords="offset points",
        )  # fmt: skip
        if name == "fresh noise":
            inverse = [heights[0] * radii[0] / r for r in radii]
            axis.plot(radii, inverse, color=GREY, linestyle=DOTTED, linewidth=0.8, zorder=0)
            axis.annotate(
                "1 / radius", (radii[2], inverse[2]), xytext=(-15, -5), color=GREY,
                textcoords="offset points", ha="right", va="top", fontsize=6.5,
            )  # fmt: skip
    axis.set(
        xscale="log", yscale="log", xlabel="Radius, share of the box", ylabel="Share of the signal"
    )
    axis.margins(y=0.15)
    plain_ticks(axis.xaxis)
    plain_ticks(axis.yaxis, (1,))


def plain_ticks(axis: Any, steps: tuple[int, ...] = (1, 2, 5)) -> None:
    """Numbers without exponents on a log axis."""
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def save(report: dict[str, Any]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "gradients.json").write_text(json.dumps(report, indent=1) + "\n")
    with style.applied():
        figure = draw(report)
        for kind in ("png", "pdf"):
            figure.savefig(FOLDER / f"gradients.{kind}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--draw", action="store_true", help="only draw, from the stored JSON")
    if parser.parse_args().draw:
        save(json.loads((FOLDER / "gradients.json").read_text()))
        return
    torch.set_num_threads(1)
    started = time.monotonic()
    tasks: list[ScheduleTask] = [ScheduleGaussian(), ScheduleDigits()]
    report: dict[str, Any] = {
        "machine": {"processor": platform.machine(), "torch": torch.__version__, "threads": 1},
        "settings": {
            "seed": SEED, "radius": RADIUS, "repeats": REPEATS,
            "lookahead": Options().lookahead, "lookahead_gamma": LOOKAHEAD_GAMMA,
        },
        "tasks": {},
    }  # fmt: skip
    for task in tasks:
        report["tasks"][task.name] = measure(task)
        report["seconds"] = round(time.monotonic() - started)
        save(report)


if __name__ == "__main__":
    main()
