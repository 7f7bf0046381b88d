"""Follows the event logs of a suite's runs with a tracker of experiments, while they work.

A process of its own (`python -m benchmark.watching tensorboard results/quick`) that ends with its
input: its work is charged to no run, and what fails here ends none.
"""

from __future__ import annotations

import hashlib
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.errors import UserError
from benchmark.files import BadResults
from benchmark.runs.folder import RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SPACING = 5.0
"""Seconds between two looks at the logs."""
DEPTHS = ("runs/*/*/*/run.json", "runs/*/*/*/*/run.json")
"""Where runs lie: by TASK/METHOD/SEED, and a task may have a `/` in its name."""
SHOWN = ("trial", "report", "final")


class Tracker(Protocol):
    """Where values go."""

    def log(self, run: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Show `values` of the run `TASK/METHOD/SEED` at its event `step`, `seconds` charged."""
        ...


class TensorBoard:
    """Event files in `FOLDER/tensorboard`. Times are charged device time, so that TensorBoard's
    relative axis is the budget."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tensorboard"
        self._writers: dict[str, SummaryWriter] = {}

    def log(self, run: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if run not in self._writers:  # what an earlier session has written is written again
            self._writers[run] = SummaryWriter(self._folder / run, purge_step=0)
        for name, value in values.items():
            self._writers[run].add_scalar(name, value, step, walltime=seconds)
        self._writers[run].flush()


class WandB:
    """Runs of a project that is called like the suite's folder, kept in `wandb` beside it: there
    are links in it, which no results may hold."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.runs: dict[str, Any] = {}

    def log(self, run: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        import wandb

        if run not in self.runs:
            known = hashlib.sha256(f"{self._folder} {run}".encode()).hexdigest()[:16]
            self.runs[run] = wandb.init(  # what an earlier session has logged is not logged twice
                project=self._folder.name, name=run, group=run.rpartition("/")[0], id=known,
                dir=self._folder.parent, resume="allow", reinit="create_new",
                settings=wandb.Settings(silent=True),
            )  # fmt: skip
        self.runs[run].log({"device seconds": seconds, **values}, step=step)


TRACKERS: dict[str, Callable[[Path], Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB}
"""By the name of their package."""


@contextmanager
def followed(kind: str | None, folder: Path) -> Iterator[None]:
    """Follow the runs in the suite's `folder` as long as the context lasts.

    Raises UserError where the tracker is not installed.
    """
    if kind is None:
        yield
        return
    if find_spec(kind) is None:
        raise UserError(f"--log {kind} needs the package {kind}: pip install '.[{kind}]'")
    command = [sys.executable, "-m", "benchmark.watching", kind, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        yield  # then its input is closed, and it is waited for


def follow(folder: Path, tracker: Tracker, ends: Callable[[], bool]) -> None:
    """Hand new records to `tracker` until `ends`, which waits a moment, and a last time then."""
    seen: Counter[str] = Counter()
    over = False
    while not over:
        over = ends()
        with suppress(FileNotFoundError, BadResults):  # a folder in the making
            begun = [path for depth in DEPTHS for path in folder.glob(depth)]
            for run in map(RunFolder, sorted(path.parent for path in begun)):
                name = run.path.relative_to(folder / "runs").as_posix()
                records = run.events()
                for step in range(seen[name], len(records)):
                    record = records[step]
                    if record["kind"] in SHOWN:
                        known = {"score": record["score"]} | (record["metrics"] or {})
                        known |= {f"param/{key}": x for key, x in record["params"].items()}
                        values = {key: x for key, x in known.items() if x is not None}
                        seconds = record["clock"]["ledgers"]["method"]
                        tracker.log(name, step, seconds, values)
                seen[name] = len(records)


def input_ends() -> bool:
    """Whether the input of this process has ended, after a moment or at its end."""
    return bool(select.select([sys.stdin], [], [], SPACING)[0])


if __name__ == "__main__":
    follow(Path(sys.argv[2]), TRACKERS[sys.argv[1]](Path(sys.argv[2])), input_ends)
