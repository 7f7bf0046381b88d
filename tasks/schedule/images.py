"""Schedule tasks on a small image data set with shipped feature networks."""

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

    def setup(self) -> None:
        splits = data.load(self.dataset)
        first, second = (feature_net(self.dataset, which, self.device) for which in FEATURES)
        self.features = (first, second)
        self.train_images = splits.train.images.to(self.device)
        self.report_images = splits.report.images.to(self.device)
        self.selection_reference = FrechetReference(first(splits.selection.images.to(self.device)))
        self.report_references = (
            FrechetReference(first(self.report_images)),
            FrechetReference(second(self.report_images)),
        )

    def evaluator(self) -> dict[str, Any]:
        names = [weights_name(self.dataset, which) for which in FEATURES]
        return super().evaluator() | {
            "features": {name: pretrained.fingerprint(name) for name in names},
            "selection_images": len(data.load(self.dataset).selection),
            "report_images": len(data.load(self.dataset).report),
        }
