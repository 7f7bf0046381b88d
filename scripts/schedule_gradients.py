"""Measure gradient estimators of a schedule's Fréchet distance: bias, noise and cost.

    python scripts/schedule_gradients.py                 # two minutes or so on one core
    python scripts/schedule_gradients.py --draw          # the figure again, from the JSON

On a half-trained network of `schedule/digits`, and on `schedule/gaussian`, where the truth is
known, zeroth-order differences and the pathwise gradient estimate the partial gradient dF/dq: the
network stays as it is and the schedule moves. The reference is the mean of pathwise gradients
of many images, on the Gaussian the exact gradient. Estimates of F from few images are biased, so
no estimator from few images tends to the reference exactly.

The second part asks how the hypergradient, where the network follows the schedule, compares:
exact on the Gaussian, and the penalty form of `methods.bilevel` on both.

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
from torch import Tensor

from benchmark.analysis import style
from methods.bilevel.schedule import Options, penalty_gradient
from tasks.diffusion import ddim
from tasks.schedule.base import ScheduleTask
from tasks.schedule.digits import ScheduleDigits
from tasks.schedule.estimators import coordinate, two_point
from tasks.schedule.gaussian import ScheduleGaussian
from tasks.schedule.training import Training

FOLDER = Path("results/reference/gradients")
PLACES = {
    "schedule/digits": {"width": 0.9, "start": 0.05, "tau": 1.2, "eps": 0.012},
    "schedule/gaussian": {"width": 0.75, "tau": 1.0},
}
"""Where gradients are measured: inside the box, so that both sides of a difference are."""
STOPS = {"schedule/digits": (2.0, 4.0), "schedule/gaussian": (1.5, 3.0)}
"""Standard trials after which gradients are measured, and that the training plans for."""
SEED = 10_001
SAMPLES = (36, 128)
"""Images per value of F: the paper's, and those of `methods.bilevel`."""
RADIUS = 0.02
"""In the unit cube; the published 0.01 is 0.025 of the width's range, 0.003 of tau's."""
RADII = (0.005, 0.02, 0.08, 0.32)
REPEATS = 48
LONG = {"schedule/digits": (1500, 16), "schedule/gaussian": (4000, 16)}
"""Images and repetitions of the long pathwise reference."""
PENALTIES = {"schedule/digits": 3, "schedule/gaussian": 8}
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

    def estimators(self, samples: int) -> dict[str, Estimate]:
        return {
            "fresh noise": self.zeroth(samples, RADIUS, common=False),
            "common noise": self.zeroth(samples, RADIUS),
            "common noise, 4 directions": self.zeroth(samples, RADIUS, 4),
            "common noise, coordinates": self.coordinates(samples, RADIUS),
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
        return lambda generator: penalty_gradient(
            task, self.training, self.position, Options(), weight, generator
        )

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
    """Estimates `(repeats, d)`, median seconds and network evaluations of one."""
    found, seconds = [], []
    before = bench.count.evaluations
    for index in range(repeats):
        generator = bench.generator(index)
        started = time.perf_counter()
        found.append(estimate(generator))
        seconds.append(time.perf_counter() - started)
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
        for common in (False, True):
            estimate = bench.zeroth(SAMPLES[0], radius, common=common)
            values, _, _ = repeat(bench, estimate, REPEATS)
            result["radii"].append(
                {"radius": radius, "common": common} | described(values, reference)
            )
    result["hypergradient"] = hypergradient(bench, reference)
    return result


def hypergradient(bench: Bench, partial: Tensor) -> dict[str, Any]:
    """The penalty form beside the exact hypergradient, where there is one, and the partial."""
    exact = exact_hypergradient(bench) if isinstance(bench.task, ScheduleGaussian) else None
    values, seconds, evaluations = repeat(bench, bench.penalty(), PENALTIES[bench.task.name])
    result: dict[str, Any] = {
        "seconds": digits(seconds),
        "evaluations": evaluations,
        "against_partial": described(values, partial),
    }
    if exact is not None:
        result |= {
            "exact": rounded(exact),
            "cosine_of_partial": digits(torch.cosine_similarity(partial, exact, dim=0)),
            "against_exact": described(values, exact),
        }
    show(bench.task.name, {"estimator": "penalty", "samples": SAMPLES[-1]} | result
         | result.get("against_exact", result["against_partial"]))  # fmt: skip
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
    "fresh noise": (style.VERMILION, "o"),
    "common noise": (style.ORANGE, "s"),
    "common noise, 4 directions": (style.GREEN, "^"),
    "common noise, coordinates": (style.SKY, "D"),
    "pathwise": (style.BLACK, "*"),
}
TITLES = {"schedule/digits": "digits", "schedule/gaussian": "Gaussian"}


def draw(report: dict[str, Any]) -> Figure:
    """A row per task: noise against cost, cosines, and noise against radius."""
    tasks = report["tasks"]
    figure = Figure(figsize=(style.DOUBLE, 2.15 * len(tasks) + 0.35), layout="constrained")
    axes = figure.subplots(len(tasks), 3, squeeze=False, width_ratios=(1.1, 1, 1))
    for row, (name, content) in zip(axes, tasks.items(), strict=True):
        draw_costs(row[0], content["estimators"])
        draw_cosines(row[1], content["estimators"])
        draw_radii(row[2], content["radii"])
        row[0].set_title(f"{TITLES[name]}: one estimate", loc="left")
        row[1].set_title(f"{TITLES[name]}: {SAMPLES[-1]} images", loc="left")
        row[2].set_title(f"{TITLES[name]}: {SAMPLES[0]} images", loc="left")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
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
    axis.set(xscale="log", yscale="log", xlabel="Milliseconds", ylabel="Noise / signal")
    axis.axhline(1, color=style.GREY, linewidth=0.6, linestyle=style.DOTTED)
    axis.margins(0.12)
    limits = axis.get_xlim(), axis.get_ylim()
    span = np.array(limits[0])
    for worth in np.geomspace(1e-3, 1e4, 15):
        axis.plot(span, worth / span**0.5, color="#dddddd", linewidth=0.5, zorder=0)
    axis.set(xlim=limits[0], ylim=limits[1])


def draw_cosines(axis: Any, rows: list[dict[str, Any]]) -> None:
    shown = [row for row in rows if row["samples"] == SAMPLES[-1]]
    for height, row in enumerate(reversed(shown)):
        colour, _ = LOOKS[row["estimator"]]
        cosines = np.array(row["cosines"])
        jitter = np.linspace(-0.25, 0.25, len(cosines))[np.argsort(np.argsort(cosines * 1e3 % 1))]
        axis.plot(cosines, height + jitter, ".", color=colour, markersize=3, alpha=0.7)
        axis.plot([cosines.mean()] * 2, [height - 0.35, height + 0.35], color=colour)
    axis.axvline(0, color=style.GREY, linewidth=0.6, linestyle=style.DOTTED)
    axis.set(xlim=(-1.05, 1.05), yticks=[], xlabel="Cosine with the reference")


def draw_radii(axis: Any, rows: list[dict[str, Any]]) -> None:
    for common, name in ((False, "fresh noise"), (True, "common noise")):
        colour, marker = LOOKS[name]
        chosen = [row for row in rows if row["common"] == common]
        radii = [row["radius"] for row in chosen]
        axis.plot(radii, [row["noise_to_signal"] for row in chosen], marker=marker, color=colour)
        if not common:
            first = chosen[0]["noise_to_signal"] * radii[0]
            axis.plot(
                radii, [first / r for r in radii], color=style.GREY, linestyle=style.DASHED,
                linewidth=0.8, zorder=0,
            )  # fmt: skip
            axis.annotate(
                "1 / radius", (radii[-1], first / radii[-1]), xytext=(-3, -2), color=style.GREY,
                textcoords="offset points", ha="right", va="top", fontsize=6.5,
            )  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="Radius, share of the box", ylabel="Noise / signal")


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
    tasks: list[ScheduleTask] = [ScheduleDigits(), ScheduleGaussian()]
    report = {
        "machine": {"processor": platform.machine(), "torch": torch.__version__, "threads": 1},
        "settings": {
            "seed": SEED, "radius": RADIUS, "repeats": REPEATS,
            "lookahead": Options().lookahead, "lookahead_gamma": LOOKAHEAD_GAMMA,
        },
        "tasks": {task.name: measure(task) for task in tasks},
    }  # fmt: skip
    report["seconds"] = round(time.monotonic() - started)
    save(report)


if __name__ == "__main__":
    main()
