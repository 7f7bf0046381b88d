"""Recipes of the feature networks: classifiers of small, shifted images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.assets import networks
from tasks.data import datasets, user_data
from tasks.metrics import spaces
from tasks.metrics.features import FeatureNet, untrained

Classifier = FeatureNet | spaces.ResidualNet | spaces.Perceptron

EPOCHS = 60
STEPS = 12_000
"""At most so many steps, where that many epochs would take more."""
BATCH = 64
RATE = 3e-3
SEEDS = {"first": 1, "second": 2}
UNSEEN_STEPS = 1500
UNSEEN_SEED = 3


def train(name: str) -> Path:
    """Train and save the feature network called `name`: `features-DATASET-WHICH`."""
    _, dataset, which = name.split("-")
    splits = datasets.load(dataset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEEDS[which])
        net = untrained(dataset, which)
    net.to("cuda" if dataset in user_data.SETS and torch.cuda.is_available() else "cpu")
    fit(net, splits.train, torch.Generator().manual_seed(SEEDS[which]), STEPS)
    return networks.save(
        name,
        net,
        folder=networks.MADE_HERE if dataset in user_data.SETS else networks.SHIPPED,
        data=f"{dataset}, train split of {len(splits.train)}",
        seed=str(SEEDS[which]),
        selection_accuracy=f"{accuracy(net, splits.selection):.4f}",
        report_accuracy=f"{accuracy(net, splits.report):.4f}",
    )


def train_unseen(name: str) -> Path:
    """Train and save a network of `tasks.metrics.spaces`: `residual-DATASET` on the train split,
    `mlp-DATASET` on the selection split."""
    kind, dataset = name.split("-")
    splits = datasets.load(dataset)
    split = splits.train if kind == "residual" else splits.selection
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNSEEN_SEED)
        net = spaces.untrained(name)
    fit(net, split, torch.Generator().manual_seed(UNSEEN_SEED), UNSEEN_STEPS)
    return networks.save(
        name,
        net,
        data=f"{dataset}, {'train' if kind == 'residual' else 'selection'} split of {len(split)}",
        seed=str(UNSEEN_SEED),
        report_accuracy=f"{accuracy(net, splits.report):.4f}",
    )


def fit(net: Classifier, split: datasets.Split, generator: torch.Generator, most: int) -> None:
    """Train `net` on `split` with label smoothing and shifts of up to one pixel, for `EPOCHS` or
    at `most` so many steps."""
    steps = min(EPOCHS * len(split) // BATCH, most)
    device = next(net.parameters()).device
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(steps):
        indices = torch.randint(len(split), (BATCH,), generator=generator)
        images = shifted(split.images[indices], generator).to(device)
        labels = split.labels[indices].to(device)
        loss = F.cross_entropy(net.logits(images), labels, label_smoothing=0.1)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """`images` moved together by up to one pixel, the border filled with background."""
    top, left = torch.randint(3, (2,), generator=generator).tolist()
    size = images.shape[-1]
    return F.pad(images, (1, 1, 1, 1), value=-1.0)[..., top : top + size, left : left + size]


@torch.no_grad()
def accuracy(net: Classifier, split: datasets.Split) -> float:
    """Share of `split` that `net` classifies rightly."""
    device = next(net.parameters()).device
    chosen = [
        net.logits(part.to(device)).argmax(dim=1).cpu() for part in torch.split(split.images, 1000)
    ]
    return (torch.cat(chosen) == split.labels).double().mean().item()
