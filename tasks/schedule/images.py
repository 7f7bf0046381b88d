"""Schedule tasks on an image data set: what methods see, and what is reported.

Methods select on and differentiate the Fréchet distance to the selection split in the features of
one small network trained on that data set. Reported are distances to the report split, the first of
them in feature spaces that no method sees (`tasks.metrics.panel`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.assets import networks
from tasks.base import Candidate, Metric
from tasks.data import datasets
from tasks.data.datasets import Dataset
from tasks.metrics import panel
from tasks.metrics.features import feature_net, weights_name
from tasks.metrics.frechet import FrechetReference
from tasks.metrics.panel import Panel
from tasks.metrics.spaces import FeatureSpace
from tasks.schedule.base import ScheduleTask, common_levels
from tasks.schedule.plans import TABLE
from tasks.schedule.training import denoising_loss, draw

SEEN = "first"
"""The feature network that methods see."""
MORE = (2, 5)
"""Multiples of the task's evaluations at which the quality is reported too."""
LASTING = (panel.PRIMARY, "panel", "precision_other", "coverage_other")
"""The measures that are reported there."""


class ImageScheduleTask(ScheduleTask):
    """Everything of a schedule task but its network, from the data set called `dataset`.

    The first metric is the Fréchet distance in the features of a network trained on other data,
    the second the mean over all unseen spaces; `fid` is the distance in the features that methods
    see, on the report split.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        panel.metric(panel.PRIMARY),
        panel.metric("panel"),
        *(m for m in panel.METRICS if m.name not in (panel.PRIMARY, "panel")),
        Metric("fid", "Fréchet distance, network that methods see", log=True),
        Metric("loss", "Denoising loss at common levels"),
    )
    final_metrics = tuple(
        replace(
            known,
            name=f"{name}_x{more}",
            label=f"{known.label}, {more} x the evaluations",
            confirms=False,
        )
        for more in MORE
        for name in LASTING
        for known in [panel.metric(name)]
    )
    dataset: ClassVar[str]
    feature_set: ClassVar[str] = ""
    """Data set of the feature network that methods see; `dataset` if empty."""

    def setup(self) -> None:
        splits = self.splits()
        self.train_images = splits.train.images.to(self.device)
        self.report_images = splits.report.images.to(self.device)
        self.features = self.seen().embed
        selection = self.measured(self.features, splits.selection.images.to(self.device))
        self.selection_reference = FrechetReference(selection)
        self.report_reference = FrechetReference(self.measured(self.features, self.report_images))
        self.panel = Panel(
            self.dataset, self.report_samples, self.device, splits, self.more_spaces()
        )

    def splits(self) -> Dataset:
        """The images, loaded once per process."""
        return datasets.load(self.dataset)

    def seen(self) -> FeatureSpace:
        """The features that methods select on and differentiate."""
        name = weights_name(self.feature_set or self.dataset, SEEN)
        net = feature_net(self.feature_set or self.dataset, SEEN, self.device)
        return FeatureSpace(name, net, networks.fingerprint(name))

    def more_spaces(self) -> tuple[FeatureSpace, ...]:
        """Feature spaces that are reported beside those of every data set."""
        return ()

    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        values = self.distances(self.generated(candidate, self.report_samples, seed))
        return values | {"loss": self.common_loss(candidate, seed)}

    def evaluate_final(self, candidate: Candidate, seed: int) -> dict[str, float]:
        """The main measures at multiples of the task's evaluations: a gain at few evaluations alone
        is not a better network."""
        values: dict[str, float] = {}
        for more in MORE:
            count = more * self.evaluations
            found = self.panel.measure(self.generated(candidate, self.panel.count, seed, count))
            values |= {f"{name}_x{more}": found[name] for name in LASTING}
        return values

    def distances(self, images: Tensor) -> dict[str, float]:
        """The reported measures of generated `images`."""
        seen = self.report_reference.distance(self.measured(self.features, images))
        return self.panel.measure(images) | {"fid": float(seen)}

    def common_loss(self, candidate: Candidate, seed: int) -> float:
        """Denoising loss on the report split at levels that do not depend on the plan."""
        batch = draw(self.report_images, TABLE, self.generator(seed), self.report_samples)
        with torch.no_grad():
            loss = denoising_loss(self.network(candidate), common_levels(self.device), batch)
        return float(loss)

    def evaluator(self) -> dict[str, Any]:
        seen, splits = self.seen(), self.splits()
        return super().evaluator() | {
            "features": {seen.name: seen.identity} | self.panel.identity(),
            "panel_samples": self.panel.count,
            "selection_images": len(splits.selection),
            "report_images": len(splits.report),
        }
