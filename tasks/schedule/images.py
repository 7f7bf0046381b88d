"""Schedule tasks on an image data set with feature networks of its own."""

from __future__ import annotations

from typing import Any, ClassVar

from tasks import data, pretrained
from tasks.metrics.features import feature_net, weights_name
from tasks.metrics.frechet import FrechetReference
from tasks.schedule.base import ScheduleTask

FEATURES = ("first", "second")


class ImageScheduleTask(ScheduleTask):
    """Everything of a schedule task but its network, from the data set called `dataset`."""

    dataset: ClassVar[str]
    feature_set: ClassVar[str] = ""
    """Data set of the feature networks; `dataset` if empty."""

    def setup(self) -> None:
        splits = data.load(self.dataset)
        self.train_images = splits.train.images.to(self.device)
        self.report_images = splits.report.images.to(self.device)
        names = self.feature_set or self.dataset
        first, second = (feature_net(names, which, self.device) for which in FEATURES)
        self.features = (first, second)
        selection = self.measured(first, splits.selection.images.to(self.device))
        self.selection_reference = FrechetReference(selection)
        self.report_references = (
            FrechetReference(self.measured(first, self.report_images)),
            FrechetReference(self.measured(second, self.report_images)),
        )

    def evaluator(self) -> dict[str, Any]:
        names = [weights_name(self.feature_set or self.dataset, which) for which in FEATURES]
        return super().evaluator() | {
            "features": {name: pretrained.fingerprint(name) for name in names},
            "selection_images": len(data.load(self.dataset).selection),
            "report_images": len(data.load(self.dataset).report),
        }
