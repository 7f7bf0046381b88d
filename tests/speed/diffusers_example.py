"""The side of diffusers: its UNet2DModel, the loop of its training example, its DDIM pipeline."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.data import datasets
from tasks.diffusion import sampler, torchvision_shim
from tasks.schedule.training import BATCH
from tests.speed.measure import Work

torchvision_shim.ensure()

WIDTHS = {"digits": (32, 64), "mnist28": (32, 32)}
"""Channels of the UNet2DModel whose number of weights is next to that of our network."""
SAMPLED = 32
"""Images of one sampling call."""


def unet(dataset: str) -> nn.Module:
    """A UNet2DModel with about as many weights as our network on `dataset`."""
    from diffusers import UNet2DModel

    network: nn.Module = UNet2DModel(
        sample_size=datasets.load(dataset).size,
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
    """A diffusers network conditioned on our noise level, scaled to its time steps."""

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
        self.network = unet(dataset).to(device)
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
            torch.utils.data.TensorDataset(datasets.load(dataset).train.images),
            batch_size=BATCH,
            shuffle=True,
            drop_last=True,
        )
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

    network = unet(dataset).to(device)
    made = DDIMPipeline(network.eval(), DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2"))
    made.set_progress_bar_config(disable=True)
    return lambda: made(count, num_inference_steps=sampler.STEPS, output_type="np")
