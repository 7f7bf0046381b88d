"""A panel of distances in feature spaces that no method sees, each beside its floor.

    from tasks.metrics.panel import METRICS, Panel, metric

    panel = Panel("digits", samples=2000, device="cpu")  # loads data and networks
    panel.measure(images)   # {"frechet_other": 3.2, "precision_other": 0.71, ...}
    panel.floor()           # the same keys, of real images in the place of generated ones
    panel.identity()        # {"other": "3f6a0c12ab90", ...}; goes into `evaluator`
    panel.count             # generated images that are measured

Keys are `MEASURE_SPACE`, with the measures frechet, kernel (KID), precision, recall, density and
coverage in the spaces other, mlp, pixels and random (`tasks.metrics.spaces`), and two more:
`memorisation` (`tasks.metrics.neighbours`, on pixels), and `panel`, the geometric mean over the
spaces of the Fréchet distance over its floor: 1 for real images. `frechet_other` is meant as the
primary reported distance. `METRICS` describes all of them, `metric(key)` one.

The reference is the report split. The floor is what as many images of the train split get as
generated ones are measured, so `count` is at most the size of the train split; no network of the
panel was trained on either. Generated images beyond `count` are left out. What is counted from
neighbours takes as many generated images as real ones, and `NEIGHBOURS` at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.base import Metric
from tasks.data import datasets
from tasks.data.datasets import Dataset
from tasks.metrics.frechet import FrechetReference
from tasks.metrics.kernel import KernelReference
from tasks.metrics.neighbours import Agreement, NeighbourReference, memorisation, nearest
from tasks.metrics.spaces import FeatureSpace, reduced, spaces

PRIMARY = "frechet_other"
NEIGHBOURS = 1000
"""Most images of either kind that measures from neighbours take: their cost is quadratic."""
BATCH = 1000
"""Images that are embedded at once."""
LABELS = {
    "other": "network of other data",
    "mlp": "perceptron",
    "pixels": "pixels",
    "random": "random network",
    "imagenet": "ImageNet network",
    "inception": "Inception",
    "own": "features of your own",
}
SPACES = ("other", "mlp", "pixels", "random")
SUMMARY = (
    Metric("panel", "Fréchet distance over its floor, all unseen spaces", log=True, confirms=True),
    Metric("memorisation", "Nearer to the train split than real images are"),
)


def described(space: str) -> tuple[Metric, ...]:
    """The measures in the space of that name, the Fréchet distance first."""
    seen_by = LABELS[space]
    return (
        Metric(f"frechet_{space}", f"Fréchet distance, {seen_by}", log=True),
        Metric(f"kernel_{space}", f"Kernel distance, {seen_by}"),
        *(
            Metric(f"{name}_{space}", f"{name.capitalize()}, {seen_by}", higher_is_better=True)
            for name in Agreement._fields
        ),
    )


METRICS: tuple[Metric, ...] = (*(m for space in SPACES for m in described(space)), *SUMMARY)
"""Descriptions of the values of `Panel.measure` for data sets with all four spaces."""


def metric(key: str) -> Metric:
    """The description of one key of `Panel.measure`; KeyError if there is none."""
    return {known.name: known for known in METRICS}[key]


class Panel:
    """The report split of a data set, seen through each of its unseen feature spaces."""

    def __init__(
        self,
        dataset: str,
        samples: int,
        device: str = "cpu",
        splits: Dataset | None = None,
        first: Sequence[FeatureSpace] = (),
    ) -> None:
        """The panel of `dataset` for up to `samples` generated images.

        `splits` are its images, by default those that `tasks.data.datasets.load` finds; `first` are
        spaces beside those of every data set.
        """
        splits = splits or datasets.load(dataset)
        self.device = device
        self.spaces = (*first, *spaces(dataset, splits.train.images.shape[1], device))
        self.count = min(samples, len(splits.train))
        report, train = splits.report.images, splits.train.images
        self.neighbours = min(self.count, len(report), NEIGHBOURS)
        seen = {space.name: self._embed(space, report) for space in self.spaces}
        self._frechet = {name: FrechetReference(features) for name, features in seen.items()}
        self._neighbours = {
            name: NeighbourReference(features[: self.neighbours]) for name, features in seen.items()
        }
        self._kernel = {name: KernelReference(features) for name, features in seen.items()}
        self._train = self._pixels(train)
        self._held_out = nearest(self._pixels(report[: self.neighbours]), self._train)
        self._floor = self._distances(train[: self.count])
        self._floor |= {"panel": 1.0, "memorisation": self._memorisation(splits.selection.images)}

    def measure(self, images: Tensor) -> dict[str, float]:
        """All measures of generated images `(n, channels, side, side)` in [-1, 1], n >= `count`.

        Raises ValueError for fewer images, or for images that are not finite.
        """
        if len(images) < self.count:
            raise ValueError(f"the panel needs {self.count} images, got {len(images)}")
        images = images[: self.count]
        values = self._distances(images)
        return values | {
            "panel": self._relative(values),
            "memorisation": self._memorisation(images),
        }

    def floor(self) -> dict[str, float]:
        """The same of real images: as many of the train split, for `memorisation` the images of
        the selection split."""
        return dict(self._floor)

    def identity(self) -> dict[str, str]:
        """Space -> hash of what defines it."""
        return {space.name: space.identity for space in self.spaces}

    def _distances(self, images: Tensor) -> dict[str, float]:
        values: dict[str, float] = {}
        for space in self.spaces:
            features = self._embed(space, images)
            values[f"frechet_{space.name}"] = self._frechet[space.name].distance(features).item()
            values[f"kernel_{space.name}"] = self._kernel[space.name].distance(features).item()
            agreement = self._neighbours[space.name].compare(features[: self.neighbours])
            values |= {f"{key}_{space.name}": x for key, x in agreement._asdict().items()}
        return values

    def _relative(self, values: dict[str, float]) -> float:
        keys = [f"frechet_{space.name}" for space in self.spaces]
        if any(values[key] == 0 for key in keys):
            return 0.0
        return math.exp(sum(math.log(values[key] / self._floor[key]) for key in keys) / len(keys))

    def _memorisation(self, images: Tensor) -> float:
        distances = nearest(self._pixels(images[: self.neighbours]), self._train)
        return memorisation(distances, self._held_out)

    def _pixels(self, images: Tensor) -> Tensor:
        return reduced(images.to(self.device)).flatten(1)

    @torch.no_grad()
    def _embed(self, space: FeatureSpace, images: Tensor) -> Tensor:
        parts = [space.embed(part.to(self.device)) for part in torch.split(images, BATCH)]
        return torch.cat(parts)
