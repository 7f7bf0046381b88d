"""The published MNIST diffusion (code of arXiv 2502.08808), made again from its description.

A U-Net of ShuffleNet v2 units (Ma et al., 2018, arXiv 1807.11164) with batch normalisation and a
learnt embedding of the time step; the tables of a cosine schedule as buffers; a training loop with
AdamW, a one-cycle rate, a moving average of weights and buffers every ten steps, and a line printed
every ten; DDIM without clipping. Sizes must be multiples of 4. Its data loader decoded each image
again in four worker processes; here it shuffles a tensor in memory, which is cheaper.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

BASE, MULTIPLES = 64, (2, 4)
TIME_WIDTH = 256
STEPS = 1000
BATCH = 128
RATE = 1e-3
EPOCHS = 100
EMA_EVERY = 10
EMA_DECAY = 0.995
PRINT_EVERY = 10


def convolution(
    entering: int,
    leaving: int,
    kernel: int = 1,
    stride: int = 1,
    depthwise: bool = False,
    active: bool = True,
) -> nn.Sequential:
    """Convolution, batch normalisation and, if `active`, SiLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(
            entering,
            leaving,
            kernel,
            stride,
            padding=kernel // 2,
            groups=entering if depthwise else 1,
        ),
        nn.BatchNorm2d(leaving),
    ]
    if active:
        layers.append(nn.SiLU(inplace=True))
    return nn.Sequential(*layers)


def depthwise(channels: int, stride: int = 1) -> nn.Sequential:
    return convolution(channels, channels, 3, stride, depthwise=True, active=False)


def shuffled(first: Tensor, second: Tensor) -> Tensor:
    """Channels of both, in turns."""
    return torch.stack([first, second], dim=2).flatten(1, 2)


class Unit(nn.Module):
    """Two branches, one per half of the channels."""

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        half = entering // 2
        self.short = nn.Sequential(depthwise(half), convolution(half, leaving // 2))
        self.long = nn.Sequential(
            convolution(half, half), depthwise(half), convolution(half, leaving // 2)
        )

    def forward(self, maps: Tensor) -> Tensor:
        first, second = maps.chunk(2, dim=1)
        return shuffled(self.short(first), self.long(second))


class Shrink(nn.Module):
    """Two branches of all channels, at half the resolution."""

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        half = leaving // 2
        self.short = nn.Sequential(depthwise(entering, 2), convolution(entering, half))
        self.long = nn.Sequential(
            convolution(entering, half), depthwise(half, 2), convolution(half, half)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return shuffled(self.short(maps), self.long(maps))


class TimeShift(nn.Module):
    """Adds a function of the embedded time step, then SiLU."""

    def __init__(self, hidden: int, leaving: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(TIME_WIDTH, hidden), nn.SiLU(), nn.Linear(hidden, leaving)
        )

    def forward(self, maps: Tensor, time: Tensor) -> Tensor:
        return nn.functional.silu(maps + self.dense(time)[..., None, None])


def units(channels: int, count: int, leaving: int) -> nn.Sequential:
    """`count` units that keep `channels`, and one that does not."""
    return nn.Sequential(*(Unit(channels, channels) for _ in range(count)), Unit(channels, leaving))


class Down(nn.Module):
    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.units = units(entering, 3, leaving // 2)
        self.time = TimeShift(leaving, leaving // 2)
        self.shrink = Shrink(leaving // 2, leaving)

    def forward(self, maps: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.units(maps)
        return self.shrink(self.time(kept, time)), kept


class Up(nn.Module):
    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.grow = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.units = units(entering, 3, entering // 2)
        self.time = TimeShift(entering, entering // 2)
        self.last = Unit(entering // 2, leaving // 2)

    def forward(self, maps: Tensor, kept: Tensor, time: Tensor) -> Tensor:
        joined = torch.cat([self.grow(maps), kept], dim=1)
        return self.last(self.time(self.units(joined), time))


class PublishedUNet(nn.Module):
    """Noise prediction from noisy images `(n, 1, size, size)` and time steps `(n,)`."""

    def __init__(self, base: int = BASE) -> None:
        super().__init__()
        widths = [base, *(base * multiple for multiple in MULTIPLES)]
        pairs = list(pairwise(widths))
        self.enter = convolution(1, base, 3)
        self.time = nn.Embedding(STEPS, TIME_WIDTH)
        self.down = nn.ModuleList(Down(*pair) for pair in pairs)
        self.middle = units(widths[-1], 2, widths[-1] // 2)
        self.up = nn.ModuleList(Up(large, small) for small, large in reversed(pairs))
        self.leave = nn.Conv2d(base // 2, 1, 1)

    def forward(self, images: Tensor, steps: Tensor) -> Tensor:
        maps, time, kept = self.enter(images), self.time(steps), []
        for down in self.down:
            maps, skipped = down(maps, time)
            kept.append(skipped)
        maps = self.middle(maps)
        for up in self.up:
            maps = up(maps, kept.pop(), time)
        noise: Tensor = self.leave(maps)
        return noise


class PublishedDiffusion(nn.Module):
    """The network with the tables of its schedule."""

    alpha_bar: Tensor
    signal: Tensor
    spread: Tensor

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        position = torch.linspace(0, STEPS, STEPS + 1) / STEPS
        curve = torch.cos((position + 0.008) / 1.008 * math.pi / 2).clamp(0, 1) ** 2
        betas = (1 - curve[1:] / curve[:-1]).clip(0, 0.999)
        alpha_bar = torch.cumprod(1 - betas, dim=0)
        self.register_buffer("betas", betas)
        self.register_buffer("alphas", 1 - betas)
        self.register_buffer("alpha_bar", alpha_bar)
        self.register_buffer("signal", alpha_bar.sqrt())
        self.register_buffer("spread", (1 - alpha_bar).sqrt())
        self.network = network or PublishedUNet()

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """The noise predicted for `images` at random time steps."""
        steps = torch.randint(0, STEPS, (len(images),)).to(images.device)
        noisy = _column(self.signal, steps) * images + _column(self.spread, steps) * noise
        predicted: Tensor = self.network(noisy, steps)
        return predicted

    @torch.no_grad()
    def sample(self, noise: Tensor, count: int) -> Tensor:
        """Images by `count` steps of DDIM from initial `noise`."""
        visited = torch.linspace(0, STEPS - 1, count, dtype=torch.long)
        previous = torch.cat([torch.tensor([-1]), visited[:-1]])
        images = noise
        for i in reversed(range(count)):
            now = torch.tensor([visited[i] for _ in range(len(images))]).to(images.device)
            after = torch.tensor([previous[i] for _ in range(len(images))]).to(images.device)
            images = self.step(images, now, after)
        return images.clamp(-1, 1)

    def step(self, images: Tensor, now: Tensor, after: Tensor) -> Tensor:
        predicted = self.network(images, now)
        share = _column(self.alpha_bar, after) if after.min() >= 0 else torch.tensor(1.0)
        clean = (images - _column(self.spread, now) * predicted) / _column(
            self.alpha_bar, now
        ).sqrt()
        return share.sqrt() * clean + (1 - share).sqrt() * predicted


def _column(table: Tensor, steps: Tensor) -> Tensor:
    return table.gather(-1, steps).reshape(len(steps), 1, 1, 1)


class PublishedTraining:
    """The published loop, one call per step, for a run of `steps`."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        steps: int,
        seed: int,
        batch: int = BATCH,
        network: nn.Module | None = None,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.model = PublishedDiffusion(network).to(device)
        share = min(1.0, (1 - EMA_DECAY) * batch * EMA_EVERY / EPOCHS)
        self.ema = AveragedModel(
            self.model,
            avg_fn=lambda kept, new, _: (1 - share) * kept + share * new,
            use_buffers=True,
        )
        self.loader = DataLoader(TensorDataset(images, labels), batch_size=batch, shuffle=True)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=RATE)
        self.rates = OneCycleLR(self.optimiser, RATE, total_steps=steps, pct_start=0.25)
        self.loss = nn.MSELoss()
        self.batches = self.shuffled()
        self.taken = 0
        self.printed = io.StringIO()

    def shuffled(self) -> Iterator[Tensor]:
        while True:
            for images, _ in self.loader:
                yield images

    def step(self) -> None:
        """One training step."""
        self.model.train()
        images = next(self.batches).to(self.device)
        noise = torch.randn_like(images)
        loss = self.loss(self.model(images, noise), noise)
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.rates.step()
        if self.taken % EMA_EVERY == 0:
            self.ema.update_parameters(self.model)
        if self.taken % PRINT_EVERY == 0:
            rate = self.rates.get_last_lr()[0]
            line = f"step {self.taken}, loss {loss.detach().cpu().item():.5f}, rate {rate:.5f}"
            print(line, file=self.printed)
        self.taken += 1
