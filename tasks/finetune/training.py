"""The recipes of the shipped latent diffusion models and of their rewards."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.assets import networks
from tasks.data import datasets
from tasks.finetune.latent import diffusion_name
from tasks.finetune.models import CLASSES, Autoencoder, NoisePredictor, untrained
from tasks.finetune.rewards import InkAndRecognition
from tasks.finetune.sampling import TRAIN_STEPS, Sampler, alpha_bar
from tasks.metrics import training as metrics_training

AUTOENCODER_STEPS = {"digits": 4000, "mnist14": 8000, "fashion14": 8000}
DENOISER_STEPS = {"digits": 8000, "mnist14": 16000, "fashion14": 16000}
BATCH = 128
KL_WEIGHT = 5e-4
EMA = 0.999
LABEL_NOISE = 0.2
"""Share of random labels in training: imperfect adherence leaves the reward room to grow."""
NULL_SHARE = 0.1
INK_SAMPLES = 10_000
SEED = 3


def train_diffusion(name: str) -> Path:
    """Train and save the latent diffusion model called `name`: `diffusion-DATASET`."""
    dataset = name.split("-")[1]
    split = datasets.load(dataset).train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = untrained(dataset)
    generator = torch.Generator().manual_seed(SEED)
    error = fit_autoencoder(model.autoencoder, split, AUTOENCODER_STEPS[dataset], generator)
    with torch.no_grad():
        latents = model.autoencoder.encode(split.images)
    loss = fit_denoiser(model.denoiser, latents, split.labels, DENOISER_STEPS[dataset], generator)
    return networks.save(
        name,
        model,
        data=f"{dataset}, train split of {len(split)}",
        seed=str(SEED),
        reconstruction_error=f"{error:.5f}",
        denoising_loss=f"{loss:.5f}",
    )


def fit_autoencoder(
    model: Autoencoder, split: datasets.Split, steps: int, generator: torch.Generator
) -> float:
    """Train on `split`, then fix the scale of the latent; mean squared error at the end."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    error = 0.0
    for _ in range(steps):
        indices = torch.randint(len(split), (BATCH,), generator=generator)
        images = split.images[indices]
        mean, log_variance = model.posterior(images)
        latents = mean + log_variance.mul(0.5).exp() * torch.randn(mean.shape, generator=generator)
        reconstruction = model.decoder(latents).view_as(images)
        squared = F.mse_loss(reconstruction, images)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        _descend(optimiser, squared + KL_WEIGHT * divergence)
        schedule.step()
        error += 0.01 * (squared.item() - error)
    with torch.no_grad():
        mean, _ = model.posterior(split.images)
        model.mean.copy_(mean.mean(dim=0))
        model.scale.copy_(mean.std(dim=0))
    return error


def fit_denoiser(
    model: NoisePredictor,
    latents: Tensor,
    labels: Tensor,
    steps: int,
    generator: torch.Generator,
) -> float:
    """Predict the noise in `latents` `(n, d)`; leaves the moving average in `model`."""
    signal = alpha_bar().float()
    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(EMA)  # type: ignore[no-untyped-call]
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=ema)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    smoothed = 1.0
    for _ in range(steps):
        indices = torch.randint(len(latents), (BATCH,), generator=generator)
        times = torch.randint(TRAIN_STEPS, (BATCH,), generator=generator)
        noise = torch.randn(BATCH, latents.shape[1], generator=generator)
        share = signal[times, None]
        noisy = share.sqrt() * latents[indices] + (1 - share).sqrt() * noise
        asked = noisy_labels(labels[indices], generator)
        loss = F.mse_loss(model(noisy, times, asked), noise)
        _descend(optimiser, loss)
        schedule.step()
        average.update_parameters(model)
        smoothed += 0.01 * (loss.item() - smoothed)
    model.load_state_dict(average.module.state_dict())
    return smoothed


def noisy_labels(labels: Tensor, generator: torch.Generator) -> Tensor:
    """`labels` `(n,)`, some replaced by a random class and some by the null label."""
    draw = torch.rand(labels.shape, generator=generator)
    random = torch.randint(CLASSES, labels.shape, generator=generator)
    labels = torch.where(draw < LABEL_NOISE, random, labels)
    return torch.where(draw > 1 - NULL_SHARE, NoisePredictor.NULL, labels)


def train_rewards(name: str) -> Path:
    """Train and save the rewards called `name`: `rewards-DATASET`.

    Needs the diffusion model of the data set: ink is standardised on its samples.
    """
    dataset = name.split("-")[1]
    splits = datasets.load(dataset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = InkAndRecognition()
    generator = torch.Generator().manual_seed(SEED)
    metrics_training.fit(model.classifier, splits.train, generator, metrics_training.STEPS)
    diffusion = networks.load(diffusion_name(dataset), untrained(dataset))
    labels = torch.arange(INK_SAMPLES) % CLASSES
    images = diffusion.sample(labels, Sampler(), generator).clean
    ink = images.mean(dim=(1, 2, 3))
    model.ink_mean.copy_(ink.mean())
    model.ink_scale.copy_(ink.std())
    return networks.save(
        name,
        model,
        data=f"{dataset}, train split of {len(splits.train)}",
        seed=str(SEED),
        selection_accuracy=f"{metrics_training.accuracy(model.classifier, splits.selection):.4f}",
    )


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
