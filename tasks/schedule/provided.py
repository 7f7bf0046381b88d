"""Schedule tasks on MNIST and CIFAR-10 as the user provides them: hours of a GPU.

Methods see the features of a small classifier, as on the smaller data sets: the inner loop of a
first-order method has to differentiate them. Inception's FID is reported beside the panel where
DTB_INCEPTION names its weights, and is left out otherwise.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tasks.assets import inception, networks
from tasks.assets.asset import Asset
from tasks.base import Metric
from tasks.data import datasets, user_data
from tasks.metrics.features import weights_name
from tasks.metrics.frechet import FrechetReference
from tasks.metrics.inception import InceptionFeatures
from tasks.metrics.inception_score import SPLITS, inception_score
from tasks.schedule.images import SEEN, ImageScheduleTask
from tasks.schedule.network import Preconditioned, UNet
from tasks.schedule.plans import PUBLISHED
from tasks.schedule.published_network import LevelUNet

INCEPTION_FID = Metric("fid_inception", "FID, Inception", log=True)
INCEPTION_SCORE = Metric("inception_score", "Inception score", higher_is_better=True)


class ProvidedScheduleTask(ImageScheduleTask):
    """An image task on files that the user provides."""

    selection_samples = 2000
    report_samples = 10_000
    largest_batch = 2500

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        if inception.provided() is not None:
            self.metrics = (*self.metrics, INCEPTION_FID, INCEPTION_SCORE)  # type: ignore[misc]

    @classmethod
    def assets(cls) -> tuple[Asset, ...]:
        name = weights_name(cls.feature_set or cls.dataset, SEEN)
        made = () if networks.shipped(name) else (networks.asset((name,)),)
        return (user_data.asset(cls.dataset), *made, inception.asset())

    def setup(self) -> None:
        super().setup()
        file = inception.provided()
        self.inception = None if file is None else InceptionFeatures(file, self.device)
        if self.inception is not None:
            self.inception_reference = FrechetReference(self.seen_by_inception(self.report_images))

    def distances(self, images: Tensor) -> dict[str, float]:
        values = super().distances(images)
        if self.inception is not None:
            features = self.seen_by_inception(images)
            values[INCEPTION_FID.name] = float(self.inception_reference.distance(features))
            values[INCEPTION_SCORE.name] = inception_score(self.inception.logits(features))
        return values

    def seen_by_inception(self, images: Tensor) -> Tensor:
        """Features `(n, 2048)` of images with one channel or three."""
        assert self.inception is not None
        return self.measured(self.inception, images.expand(-1, 3, -1, -1))

    def evaluator(self) -> dict[str, Any]:
        count = len(datasets.load(self.dataset).report)
        seen = f"clean-fid, {count} reference images; score of {SPLITS} parts"
        missing = f"not measured: no {inception.VARIABLE}"
        return super().evaluator() | {"inception": seen if self.inception else missing}


class ScheduleMnist60k(ProvidedScheduleTask):
    """All of MNIST; the feature networks are those of the 28 x 28 images of MNIST-5k."""

    name = "schedule/mnist60k"
    description = "Noise schedule of a U-Net trained on 28 x 28 MNIST; needs the data and a GPU"
    dataset = "mnist60k"
    feature_set = "mnist28"
    trial_steps = 10_000
    rate = 1e-3
    budget = 1.0

    def build(self) -> nn.Module:
        return Preconditioned(UNet(channels=64))


class ScheduleMnist60kPublished(ScheduleMnist60k):
    """The paper's experiment: its network, its box of schedules, its batches of 128.

    The network is the published one told the noise level (see `LevelUNet`). A trial is as long as
    the published bilevel run: ten steps for each of 3 x 469 batches; the published searches train
    for 100 epochs. Sampling takes ten bounded DDIM steps, where the published code takes all 1000
    steps without a bound.
    """

    name = "schedule/mnist60k-published"
    description = "Noise schedule of the published U-Net on MNIST; needs the data and a GPU"
    plans = PUBLISHED
    space = PUBLISHED.space
    batch_size = 128
    trial_steps = 14_070
    solver = "DDIM"
    recompute = True
    """At 128 images and ten steps the whole graph takes 36 GB: 28 MB an image and step."""

    def build(self) -> nn.Module:
        return LevelUNet()


class ScheduleCifar10(ProvidedScheduleTask):
    """CIFAR-10, with feature networks trained once on the user's copy of its train split."""

    name = "schedule/cifar10"
    description = "Noise schedule of a U-Net trained on CIFAR-10; needs the data and a GPU"
    dataset = "cifar10"
    metrics = tuple(m for m in ImageScheduleTask.metrics if not m.name.endswith("_mlp"))
    trial_steps = 20_000
    rate = 5e-4
    budget = 4.0

    def build(self) -> nn.Module:
        return Preconditioned(UNet(channels=128, image_channels=3))
