"""Training and sampling of schedule tasks beside the published code and diffusers, in one process.

    python -m benchmarks.schedule_training --json schedule_training.json

Three questions: steps and images per second with everybody's own network; the same with ONE
network (diffusers' UNet2DModel) inside our loop and sampler and inside diffusers' training example
and DDIMPipeline; and the seconds of training after which a whole run, its learning-rate schedule
included, ends at the same Fréchet distance as a whole run of the published loop and network.
Same data, batch, precision and thread on both sides. About six minutes; `--full` trains longer, on
MNIST too, and over several seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Row, Work, compare, machine, one_thread, show, timed
from benchmarks.published_unet import PublishedDiffusion, PublishedTraining
from tasks import data
from tasks.diffusion import ddim, torchvision_shim
from tasks.schedule.base import ScheduleTask
from tasks.schedule.digits import ScheduleDigits
from tasks.schedule.mnist import ScheduleMnist
from tasks.schedule.training import BATCH, Training

torchvision_shim.ensure()

DATASETS: dict[str, type[ScheduleTask]] = {"digits": ScheduleDigits, "mnist28": ScheduleMnist}
WIDTHS = {"digits": (32, 64), "mnist28": (32, 32)}
"""Channels of the UNet2DModel whose number of weights is next to that of our network."""
SAMPLED = 32
"""Images of one sampling call."""
SCORED = 500
"""Images behind a Fréchet distance."""
WORTH = 0.2
"""Seconds that a timed call should take at least."""


def our_task(
    dataset: str,
    build: Callable[[], nn.Module] | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> ScheduleTask:
    """The schedule task on `dataset`, around the network that `build` makes."""
    changes: dict[str, Any] = {"dataset": dataset}
    if build is not None:
        changes["build"] = lambda self: build()
    task: ScheduleTask = type("Measured", (DATASETS[dataset],), changes)(device)
    task.precision = precision
    task.setup()
    return task


def diffusers_network(dataset: str) -> nn.Module:
    from diffusers import UNet2DModel

    network: nn.Module = UNet2DModel(
        sample_size=data.load(dataset).size,
        in_channels=1,
        out_channels=1,
        block_out_channels=WIDTHS[dataset],
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=8,
        add_attention=False,
    )
    return network


class Told(nn.Module):
    """A diffusers network that is told our noise level, scaled to its time steps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        noise: Tensor = self.network(images, 999 * level, return_dict=False)[0]
        return noise


class ExampleTraining:
    """The loop of diffusers' example of unconditional training, in memory and without accelerate.

    Without `extras` its gradient clipping and moving average are left out.
    """

    def __init__(
        self, dataset: str, extras: bool = True, device: str = "cpu", precision: str = "float32"
    ) -> None:
        from diffusers import DDPMScheduler
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        self.device = device
        self.network = diffusers_network(dataset).to(device)
        self.mixed = torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")
        self.schedule = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
        self.ema = EMAModel(
            self.network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75
        )
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
        )
        self.rates = get_scheduler(
            "cosine", self.optimiser, num_warmup_steps=500, num_training_steps=10_000
        )
        self.loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(data.load(dataset).train.images),
            batch_size=BATCH, shuffle=True, drop_last=True,
        )  # fmt: skip
        self.batches, self.extras = self.shuffled(), extras
        self.logs: dict[str, float] = {}

    def shuffled(self) -> Iterator[Tensor]:
        while True:
            for (images,) in self.loader:
                yield images

    def step(self) -> None:
        images = next(self.batches).to(self.device)
        noise = torch.randn(images.shape, device=self.device)
        steps = torch.randint(0, 1000, (len(images),), device=self.device).long()
        noisy = self.schedule.add_noise(images, noise, steps)
        with self.mixed:
            predicted = self.network(noisy, steps).sample
        loss = F.mse_loss(predicted.float(), noise)
        loss.backward()
        if self.extras:
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.rates.step()
        self.optimiser.zero_grad()
        if self.extras:
            self.ema.step(self.network.parameters())
        self.logs = {"loss": loss.detach().item(), "lr": self.rates.get_last_lr()[0]}


def pipeline(dataset: str, count: int = SAMPLED, device: str = "cpu") -> Work:
    """Sampling by diffusers' pipeline."""
    from diffusers import DDIMPipeline, DDIMScheduler

    network = diffusers_network(dataset).to(device)
    made = DDIMPipeline(network.eval(), DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2"))
    made.set_progress_bar_config(disable=True)
    return lambda: made(count, num_inference_steps=ddim.STEPS, output_type="np")


def our_training(task: ScheduleTask) -> Work:
    training, table = task.begin(0), task.table(task.space.default)
    return lambda: task.train_step(training, table, 0.1)


def our_sampling(task: ScheduleTask, count: int = SAMPLED) -> Work:
    network = task.begin(0).ema
    table, generator = task.table(task.space.default), task.generator(0)
    return lambda: task.sample(network, table, task.noise(count, generator))


def row(ours: Work, theirs: Work, units: int, device: str = "cpu") -> Row:
    """A row of calls that are repeated until they are worth timing; one call is `units` units."""
    (mine, often), (other, their) = repeated(ours, device), repeated(theirs, device)
    return Row(mine, other, units * often, units * their)


def repeated(work: Work, device: str = "cpu") -> tuple[Work, int]:
    work()
    often = max(1, round(WORTH / timed(work, device)))

    def calls() -> None:
        for _ in range(often):
            work()

    return calls, often


def own_network_rows(dataset: str) -> dict[str, Row]:
    """Every side with its own network; training counted in steps, sampling in images."""
    task, train = our_task(dataset), data.load(dataset).train
    published = PublishedTraining(train.images, train.labels, 100_000, 0, BATCH)
    diffusion = PublishedDiffusion().eval()
    shape = task.train_images.shape[1:]
    return {
        f"{dataset}: training steps; published": row(our_training(task), published.step, 1),
        f"{dataset}: training steps; diffusers": row(
            our_training(task), ExampleTraining(dataset).step, 1
        ),
        f"{dataset}: sampled images; published": row(
            our_sampling(task),
            lambda: diffusion.sample(torch.randn(SAMPLED, *shape), ddim.STEPS),
            SAMPLED,
        ),
        f"{dataset}: sampled images; diffusers": row(
            our_sampling(task), pipeline(dataset), SAMPLED
        ),
    }


def one_network_rows(dataset: str) -> dict[str, Row]:
    """The same UNet2DModel on both sides."""
    task = our_task(dataset, lambda: Told(diffusers_network(dataset)))
    example, bare = ExampleTraining(dataset), ExampleTraining(dataset, extras=False)
    return {
        f"{dataset}: training steps; example": row(our_training(task), example.step, 1),
        f"{dataset}: training steps; example, no clip, no EMA": row(
            our_training(task), bare.step, 1
        ),
        f"{dataset}: sampled images; DDIMPipeline": row(
            our_sampling(task), pipeline(dataset), SAMPLED
        ),
    }


def weights(dataset: str) -> dict[str, int]:
    """How many each network has."""
    networks = {
        "ours": our_task(dataset).build(),
        "published": PublishedDiffusion().network,
        "diffusers": diffusers_network(dataset),
    }
    return {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()}


@dataclass(frozen=True)
class Run:
    """One whole training."""

    steps: int
    seconds: float
    processor_seconds: float
    fid: float
    fid2: float


class Ours:
    """Runs of our loop with our network."""

    def __init__(self, dataset: str) -> None:
        self.task = our_task(dataset)
        self.table = self.task.table(self.task.space.default)

    def start(self, steps: int, seed: int) -> Work:
        self.training: Training = self.task.begin(seed)
        fractions = iter(step / steps for step in range(steps))
        return lambda: self.task.train_step(self.training, self.table, next(fractions))

    def networks(self) -> list[nn.Module]:
        return [self.training.ema]


class Published:
    """Runs of the published loop with the published network."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        task = our_task(dataset)
        self.levels = ddim.noise_level(task.table(task.space.default)).float()

    def start(self, steps: int, seed: int) -> Work:
        train = data.load(self.dataset).train
        self.training = PublishedTraining(train.images, train.labels, steps, seed)
        return self.training.step

    def networks(self) -> list[nn.Module]:
        """The averaged and the last weights: in a short run the average may lag behind."""
        models = (self.training.ema.module, self.training.model)
        return [Timed(model.network, self.levels).eval() for model in models]


class Timed(nn.Module):
    """A network that is told time steps, looked up from our noise level."""

    levels: Tensor

    def __init__(self, network: nn.Module, levels: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("levels", levels)

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        nearest = (self.levels - level[0]).abs().argmin()
        noise: Tensor = self.network(images, nearest.expand(len(images)))
        return noise


class Race:
    """Both sides on one data set, scored alike: our ten steps of clipped DDIM, which beat their
    unclipped ones, against the report split."""

    SPEED_STEPS: ClassVar[int] = 3

    def __init__(self, dataset: str, seed: int) -> None:
        self.judge, self.seed = our_task(dataset), seed
        self.table = self.judge.table(self.judge.space.default)
        self.ours, self.published = Ours(dataset), Published(dataset)

    def train(self, side: Ours | Published, seconds: float) -> Run:
        """A whole run of about `seconds`, and the best distance among its networks."""
        step = side.start(100, self.seed)
        step()
        per_step = timed(lambda: [step() for _ in range(self.SPEED_STEPS)]) / self.SPEED_STEPS
        steps = max(2, round(seconds / per_step))
        step = side.start(steps, self.seed)
        busy = time.process_time()
        taken = timed(lambda: [step() for _ in range(steps)])
        busy = time.process_time() - busy
        fid, fid2 = min(self.distances(network) for network in side.networks())
        return Run(steps, taken, busy, fid, fid2)

    def distances(self, network: nn.Module) -> tuple[float, float]:
        noise = self.judge.noise(SCORED, self.judge.generator(self.seed))
        images = self.judge.sample(network, self.table, noise)
        with torch.no_grad():
            found = [
                float(reference.distance(features(images)))
                for features, reference in zip(
                    self.judge.features, self.judge.report_references, strict=True
                )
            ]
        return found[0], found[1]

    def result(self, horizons: list[float]) -> dict[str, Any]:
        """Runs of the published side at `horizons` of seconds, ours from the shortest on in steps
        of 1.4 until the best published distance is reached, and who took how long."""
        theirs = [self.train(self.published, horizon) for horizon in horizons]
        best, mine, horizon = min(run.fid for run in theirs), [], 0.25
        while horizon < max(horizons) and not (mine and mine[-1].fid <= best):
            mine.append(self.train(self.ours, horizon))
            horizon *= 1.4
        untrained, _ = self.distances(self.judge.begin(self.seed).ema)
        return {
            "seed": self.seed,
            "untrained": untrained,
            "ours": [asdict(run) for run in mine],
            "published": [asdict(run) for run in theirs],
            "same_fid": [_matched(run, mine) for run in theirs],
        }


def _matched(theirs: Run, mine: list[Run]) -> dict[str, Any]:
    """The quickest of our runs that is no worse than `theirs`."""
    good = [run for run in mine if run.fid <= theirs.fid]
    if not good:
        return {"fid": theirs.fid, "published": theirs.seconds, "ours": None, "ratio": None}
    ours = min(good, key=lambda run: run.seconds)
    return {
        "fid": theirs.fid,
        "published": theirs.seconds,
        "ours": ours.seconds,
        "ours_fid": ours.fid,
        "ratio": theirs.seconds / ours.seconds,
        "ratio_processor": theirs.processor_seconds / ours.processor_seconds,
    }


def rates(repetitions: int) -> dict[str, Any]:
    """Steps and images per second, measured and printed."""
    own: dict[str, Row] = {}
    one: dict[str, Row] = {}
    for dataset in DATASETS:
        own |= own_network_rows(dataset)
        one |= one_network_rows(dataset)
    report = {
        "batch": BATCH,
        "sampled": SAMPLED,
        "steps": ddim.STEPS,
        "weights": {dataset: weights(dataset) for dataset in DATASETS},
        "own_network": compare(own, repetitions),
        "one_network": compare(one, 2 * repetitions),
    }
    show(report["own_network"], "each with its own network: ours; theirs")
    show(report["one_network"], "one UNet2DModel: our loop; diffusers' loop")
    return report


def main() -> None:
    arguments = parse()
    one_thread()
    torch.manual_seed(0)
    report: dict[str, Any] = {"machine": machine()}
    if arguments.only != "fid":
        report |= rates(arguments.repetitions)
    if arguments.only != "rates":
        report["same_fid"] = {
            dataset: [Race(dataset, seed).result(horizons) for seed in range(arguments.seeds)]
            for dataset, horizons in arguments.horizons.items()
        }
        show_races(report["same_fid"])
    report["machine_after"] = machine()
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="where to write the measurements")
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--seeds", type=int, help="runs per horizon (1; with --full 3)")
    parser.add_argument("--full", action="store_true", help="longer trainings, on MNIST too")
    parser.add_argument("--only", choices=("rates", "fid"), help="one part of the report")
    parser.add_argument("--seconds", type=float, nargs="+", help="horizons of published trainings")
    arguments = parser.parse_args()
    arguments.seeds = arguments.seeds or (3 if arguments.full else 1)
    seconds = arguments.seconds or ([20, 60, 180] if arguments.full else [15, 45, 90])
    arguments.horizons = dict.fromkeys(DATASETS if arguments.full else ["digits"], seconds)
    return arguments


def show_races(races: dict[str, list[dict[str, Any]]]) -> None:
    print(f"{'seconds to the same FID':30} {'FID':>8} {'published':>10} {'ours':>8} {'ratio':>7}")
    for dataset, runs in races.items():
        for run in runs:
            for entry in run["same_fid"]:
                name = f"{dataset}, untrained {run['untrained']:.1f}"
                start = f"{name:30} {entry['fid']:8.2f} {entry['published']:10.1f}"
                found = entry["ours"] is not None
                print(start, f"{entry['ours']:8.2f} {entry['ratio']:7.1f}" if found else "never")


if __name__ == "__main__":
    main()
