"""The network of the published MNIST experiment (code of arXiv 2502.08808), made again.

A U-Net of ShuffleNet v2 units (Ma et al., 2018, arXiv 1807.11164) with batch normalisation and a
learnt embedding of the time step. Sizes of images must be multiples of 4.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from tasks.diffusion.sampler import noise_level
from tasks.schedule.plans import PUBLISHED
from tasks.schedule.plans import TABLE as STEPS

BASE, MULTIPLES = 64, (2, 4)
TIME_WIDTH = 256


class Normalisation(nn.BatchNorm2d):
    """Batch normalisation that does not count its batches: a kernel for each layer and step, for a
    number that nobody reads."""

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            maps, self.running_mean, self.running_var, self.weight, self.bias, self.training,
            momentum=0.1, eps=self.eps,
        )  # fmt: skip


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
        Normalisation(leaving),
    ]
    if active:
        layers.append(nn.SiLU())  # in place it would copy what the backward pass needs
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
        grown: Tensor = self.last(self.time(self.units(joined), time))
        return grown


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
        return self.predict(images, self.time(steps))

    def predict(self, images: Tensor, time: Tensor) -> Tensor:
        """Noise from embedded steps `(n, TIME_WIDTH)`, or `(1, TIME_WIDTH)` for all images."""
        kept = []
        maps = self.enter(images)
        for down in self.down:
            maps, skipped = down(maps, time)
            kept.append(skipped)
        maps = self.middle(maps)
        for up in self.up:
            maps = up(maps, kept.pop(), time)
        noise: Tensor = self.leave(maps)
        return noise


class LevelUNet(PublishedUNet):
    """The published network, told the noise level as the tasks' other networks are.

    A level is looked up among those of the published default schedule and takes the embedding of
    its step there, between two steps a mixture of both. Under that schedule this is the published
    network to the last bit of rounding. Under another one the same noise has the same embedding,
    where the published code would number its steps anew: one network can so be sampled under
    any schedule, and gradients reach the schedule through the level too.
    """

    levels: Tensor

    def __init__(self, base: int = BASE) -> None:
        super().__init__(base)
        space = PUBLISHED.space
        table = PUBLISHED.training_levels(torch.as_tensor(space.to_unit(space.default)))
        self.register_buffer("levels", noise_level(table).float(), persistent=False)

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        """`images` `(n, 1, size, size)`, `level` `(n,)` in [0, 1]."""
        if level.stride(0) == 0:
            level = level[:1]
        after = torch.searchsorted(self.levels, level.detach().contiguous()).clamp(1, STEPS - 1)
        low, high = self.levels[after - 1], self.levels[after]
        share = ((level - low) / (high - low)).clamp(0, 1).to(images.dtype)
        time = torch.lerp(self.time(after - 1), self.time(after), share[:, None])
        return self.predict(images, time)
