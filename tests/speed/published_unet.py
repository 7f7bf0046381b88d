"""The published MNIST diffusion (code of arXiv 2502.08808), reimplemented from its description.

The network of `tasks.schedule.published_network`; the tables of a cosine schedule as buffers; a
training loop with AdamW, a one-cycle rate, a moving average of parameters and buffers every ten
steps, and a line printed every ten; DDIM without clipping. Sizes must be multiples of 4. The
published data loader decodes each image again in four worker processes; this one shuffles a tensor
in memory, which is cheaper.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from tasks.schedule.plans import TABLE as STEPS
from tasks.schedule.published_network import PublishedUNet

BATCH = 128
RATE = 1e-3
EPOCHS = 100
EMA_EVERY = 10
EMA_DECAY = 0.995
PRINT_EVERY = 10


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
