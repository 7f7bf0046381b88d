"""Recipes of what `finetune/fashion` ships: its rewards, and moments of held-out images."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks.assets import networks
from tasks.data import datasets
from tasks.finetune.fashion import Acceptance, ReferenceMoments
from tasks.finetune.latent import diffusion_name
from tasks.finetune.models import CLASSES, untrained
from tasks.finetune.sampling import Sampler
from tasks.metrics import training
from tasks.metrics.features import DIMENSIONS, feature_net

GUIDE_SEED, JUDGE_SEED = 3, 4
SAMPLES = 10_000
TYPICAL = 0.95
"""Share of a class's real images that count as typical."""


def train_rewards(name: str) -> Path:
    """Train and save the rewards called `name`: `rewards-DATASET`.

    The guide sees the train split, the judge the selection split; the distances of the train split,
    unseen by the judge, set the limits. Needs the diffusion model: log odds are standardised on
    its samples.
    """
    dataset = name.split("-")[1]
    splits = datasets.load(dataset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(GUIDE_SEED)
        model = Acceptance()
    guide, judge = (torch.Generator().manual_seed(seed) for seed in (GUIDE_SEED, JUDGE_SEED))
    training.fit(model.guide, splits.train, guide, training.STEPS)
    training.fit(model.judge, splits.selection, judge, training.STEPS)
    measure(model.requires_grad_(False), splits.train)
    labels = torch.arange(SAMPLES) % CLASSES
    diffusion = networks.load(diffusion_name(dataset), untrained(dataset))
    generator = torch.Generator().manual_seed(GUIDE_SEED)
    odds = model.log_odds(diffusion.sample(labels, Sampler(), generator).clean, labels)
    model.odds_mean.copy_(odds.mean())
    model.odds_scale.copy_(odds.std())
    return networks.save(
        name,
        model,
        data=f"{dataset}: guide {len(splits.train)}, judge {len(splits.selection)} images",
        seed=f"{GUIDE_SEED}, {JUDGE_SEED}",
        guide_accuracy=f"{training.accuracy(model.guide, splits.report):.4f}",
        judge_accuracy=f"{training.accuracy(model.judge, splits.report):.4f}",
    )


def measure(model: Acceptance, split: datasets.Split) -> None:
    """Set the class centres, the shared precision and the limits from `split`."""
    features = model.judge(split.images).double()
    centres = torch.stack([features[split.labels == label].mean(dim=0) for label in range(CLASSES)])
    covariance = (features - centres[split.labels]).T.cov()
    model.centres.copy_(centres)
    model.precision.copy_(torch.linalg.inv(covariance))
    distance = model.distance(split.images, split.labels)
    for label in range(CLASSES):
        model.limits[label] = distance[split.labels == label].quantile(TYPICAL)


def store_reference(name: str) -> Path:
    """Save the feature moments called `name`: `reference-DATASET`, of the report split."""
    dataset = name.split("-")[1]
    split = datasets.load(dataset).report
    with torch.no_grad():
        features = feature_net(dataset, "first")(split.images).double()
    model = ReferenceMoments(DIMENSIONS[dataset])
    model.mean.copy_(features.mean(dim=0))
    model.covariance.copy_(features.T.cov())
    return networks.save(name, model, data=f"{dataset}, report split of {len(split)}")
