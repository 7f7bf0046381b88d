"""A schedule task on the user's own pictures, stated in a file of a few lines.

    from tasks.schedule.pictures import PictureScheduleTask

    class MyPictures(PictureScheduleTask):
        name = "schedule/my-pictures"
        pictures = "my-pictures"   # a folder, an .npz or a .parquet file, beside this file
        side = 16
        channels = 1

No measure needs labels. Methods see a random convolutional network; reported are the shipped
residual network of other data, pixels, and another random network (`tasks.metrics.spaces`), and
before them the features that `judge` chooses (`tasks.metrics.judges`).
Classes only keep their shares in the splits.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from tasks.data import datasets
from tasks.data.datasets import Dataset
from tasks.metrics import judges, panel
from tasks.metrics.judges import Choice
from tasks.metrics.spaces import SEED, FeatureSpace, random
from tasks.schedule.images import ImageScheduleTask
from tasks.schedule.network import Preconditioned, UNet


class PictureScheduleTask(ImageScheduleTask):
    """Everything of a schedule task but its name and the place of its pictures."""

    description = "Noise levels of a small U-Net trained on your pictures"
    dataset = "pictures"
    metrics = tuple(m for m in ImageScheduleTask.metrics if not m.name.endswith("_mlp"))
    pictures: ClassVar[str | Path]
    """What `tasks.data.pictures` reads; a relative path begins at the file of the class."""
    side: ClassVar[int] = 16
    """Height and width in pixels, even."""
    channels: ClassVar[int] = 3
    """1 for grey, 3 for colour."""
    split_seed: ClassVar[int] = datasets.SPLIT_SEED
    judge: ClassVar[Choice] = ""
    """Features of the first reported distance: "imagenet", "inception" or a function; where it is
    empty, those of the residual network."""
    trial_steps = 400
    rate = 4e-3
    budget = 90 / 3600

    def __init_subclass__(cls) -> None:
        """Raises ValueError for attributes that cannot be used."""
        super().__init_subclass__()
        if not isinstance(getattr(cls, "pictures", None), (str, Path)):
            raise ValueError("`pictures` must be the path of a folder, an .npz or a .parquet file")
        if cls.channels not in (1, 3):
            raise ValueError(f"`channels` must be 1 (grey) or 3 (colour), got {cls.channels!r}")
        if not isinstance(cls.side, int) or cls.side < 8 or cls.side % 2:
            raise ValueError(f"`side` must be an even number of pixels from 8, got {cls.side!r}")
        if cls.judge:
            distance, *others = panel.described(judges.name(cls.judge))
            cls.metrics = (distance, *PictureScheduleTask.metrics, *others)

    @classmethod
    def read(cls) -> Dataset:
        """The pictures, read once per process. Raises OSError or ValueError naming bad ones."""
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        beside = Path(file).resolve().parent if file else Path.cwd()
        source = beside / Path(cls.pictures).expanduser()
        return datasets.load_pictures(source, cls.side, cls.channels, cls.split_seed)

    @classmethod
    def unavailable(cls) -> str | None:
        """Reads all pictures, so that a bad one is named before anything is spent."""
        try:
            cls.read()
        except (OSError, ValueError) as error:
            return str(error)
        if cls.judge and (fault := judges.problem(cls.judge, cls.channels, cls.side)):
            return fault
        return super().unavailable()

    def build(self) -> nn.Module:
        return Preconditioned(UNet(channels=32, image_channels=self.channels))

    def splits(self) -> Dataset:
        return self.read()

    def seen(self) -> FeatureSpace:
        return random(self.channels, self.device, SEED + 1)

    def more_spaces(self) -> tuple[FeatureSpace, ...]:
        return (judges.load(type(self).judge, self.device),) if type(self).judge else ()

    def evaluator(self) -> dict[str, Any]:
        splits = self.splits()
        parts = (splits.train, splits.selection, splits.report)
        pixels = b"".join(part.images.numpy().tobytes() for part in parts)
        return super().evaluator() | {
            "pictures": hashlib.sha256(pixels).hexdigest()[:12],
            "split": f"{' / '.join(str(len(part)) for part in parts)}, seed {self.split_seed}",
            "labels": "used by no measure; classes keep their shares in the splits",
        }
