"""Schedule tasks on an image data set with feature networks of its own."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from tasks.assets import data, networks
from tasks.base import Metric
from tasks.metrics.coverage import CoverageReference
from tasks.metrics.features import feature_net, weights_name
from tasks.metrics.frechet import FrechetReference
from tasks.metrics.kernel import KernelReference
from tasks.schedule.base import ScheduleTask

FEATURES = ("first", "second")


class ImageScheduleTask(ScheduleTask):
    """Everything of a schedule task but its network, from the data set called `dataset`.

    Beside both Fréchet distances, kernel distance and coverage under the second feature map: other
    views of the same, by what no method sees.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        *ScheduleTask.metrics,
        Metric("kid2", "KID, second network"),
        Metric("coverage2", "Coverage, second network", higher_is_better=True),
    )
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
        seen = self.measured(second, self.report_images)
        self.report_references = (
            FrechetReference(self.measured(first, self.report_images)),
            FrechetReference(seen),
        )
        self.kernel_reference = KernelReference(seen)
        self.coverage_reference = CoverageReference(seen)

    def compared(self, first: Tensor, second: Tensor) -> dict[str, float]:
        return super().compared(first, second) | {
            "kid2": float(self.kernel_reference.distance(second)),
            "coverage2": float(self.coverage_reference.coverage(second)),
        }

    def evaluator(self) -> dict[str, Any]:
        names = [weights_name(self.feature_set or self.dataset, which) for which in FEATURES]
        return super().evaluator() | {
            "features": {name: networks.fingerprint(name) for name in names},
            "selection_images": len(data.load(self.dataset).selection),
            "report_images": len(data.load(self.dataset).report),
        }
