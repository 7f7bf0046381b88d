"""A task whose lower level is a user's script: it is run at the tuned values, and the metric that
it prints is the score.

The script is trusted: its last printed metric is what is optimised and, unless the task names a
second key for that, what is reported. There is nothing that no method has seen.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from tasks.base import Candidate, Task
from tasks.command.script import STDOUT, Script, ScriptFailed, reported
from tasks.space import Params, Space

GIVEN = ("folder", "seed", "device")
"""Placeholders beside the variables: the trial's folder, its seed below 2**31, `cpu` or `cuda`."""
ROUNDING = 1e-9
SHORT_OF_END = 1 - 1e-6
"""Share that the last line of a trial comes to: the script may still fail."""
SETTING = "trial.json"
"""File in a trial's folder: its values and the command line."""


class CommandTask(Task):
    """One script and its space; `tasks.command.definition` makes the classes."""

    family = "command"
    citation = "-"
    run: ClassVar[tuple[str, ...]]
    """Words of the command line, with placeholders."""
    resume: ClassVar[tuple[str, ...]]
    """Words added when an interrupted trial is started again; without any it starts over."""
    keys: ClassVar[tuple[str, ...]]
    """Keys of the printed metric and, if it is another, of the reported one."""
    lines: ClassVar[int]
    """How many lines with the metric a whole trial prints."""
    time_limit: ClassVar[float | None]
    where: ClassVar[Path]
    """Folder in which the script is started: that of the suite file."""

    def iterate(
        self,
        params: Params,
        stops: Sequence[float],
        seed: int,
        progress: Callable[[], float] | None = None,
        resume: dict[str, Any] | None = None,
    ) -> Iterator[Candidate]:
        """As in `Task`: a stop below 1 is so many of the lines, and 1 is the end of the script.

        A script has a length of its own. With `progress` a candidate is yielded at the first line
        beyond each stop, and at the script's end. A trial that fails goes on with candidates that
        are not finite, or with `progress` none. At the default, where nothing that is tuned is to
        blame, ScriptFailed is raised instead.
        """
        left, latest = list(stops), None
        try:
            with (
                self._own_folder() as folder,
                closing(self._reports(params, seed, folder)) as reports,
            ):
                for printed, values in enumerate(reports, 1):
                    candidate = Candidate(params, values)
                    share = progress() if progress else min(printed / self.lines, SHORT_OF_END)
                    due = [stop for stop in left if stop <= share + ROUNDING]
                    del left[: len(due)]
                    for _ in due[:1] if progress else due:
                        latest = candidate
                        yield candidate
                    if not left:
                        return
        except ScriptFailed as failure:
            said = ", ".join(f"{x.name} = {x.said(params[x.name])}" for x in self.space.variables)
            reason = f"the script failed at {said}: {failure}"
            if params == self.space.default:
                raise ScriptFailed(reason) from None
            print(reason)
            if progress:
                return
            candidate = Candidate(params, dict.fromkeys(self.keys, math.nan))
        if not progress:
            yield from [candidate] * len(left)
        elif candidate is not latest:
            yield candidate

    def _reports(self, params: Params, seed: int, folder: Path) -> Generator[dict[str, float]]:
        """The values of `keys` in each line that the script prints; it is ended at the last one
        that is asked for. Waiting is charged by the moment, so that the budget can end it."""
        script = self._start(params, seed, folder)
        started, found, ended = time.monotonic(), False, False
        with closing(script):
            while not ended:
                with self.meter.charge("line", 0):
                    lines, ended = script.lines()
                for values in reported(lines, self.keys):
                    with self.meter.charge("line"):
                        found = True
                    yield values
                if self.time_limit and not ended and time.monotonic() - started > self.time_limit:
                    raise ScriptFailed(f"it took more than its time_limit of {self.time_limit} s")
            script.check()
        if not found:
            raise ScriptFailed(
                f"it printed no JSON line with {self.keys[0]!r}; {script.last_words()}"
            )

    def _start(self, params: Params, seed: int, folder: Path) -> Script:
        run = (*self.run, *self.resume) if (folder / STDOUT).exists() else self.run
        given = {"folder": str(folder), "seed": seed % 2**31, "device": self.device}
        words = filled(run, self.space, params, given)
        said = {x.name: x.said(params[x.name]) for x in self.space.variables}
        setting = {"values": said, "command": words}
        (folder / SETTING).write_text(json.dumps(setting, indent=1))
        with self.meter.charge("start"):
            return Script(words, self.where, folder)

    @contextmanager
    def _own_folder(self) -> Iterator[Path]:
        """The folder of a trial. What an earlier start has left there is moved aside, unless the
        script can go on from it."""
        if self.folder is None:
            with tempfile.TemporaryDirectory() as name:
                yield Path(name)
            return
        if self.folder.exists() and not self.resume:
            count = len(list(self.folder.parent.glob(f"{self.folder.name}-*")))
            self.folder.rename(f"{self.folder}-{count + 1}")
        self.folder.mkdir(parents=True, exist_ok=True)
        yield self.folder

    def warm_up(self) -> None:
        """Nothing: a script is a process of its own."""

    def score(self, candidate: Candidate, seed: int) -> float:
        value: float = candidate.state[self.keys[0]]
        return -value if self.metrics[0].higher_is_better else value

    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        return {metric.name: candidate.state[metric.name] for metric in self.metrics}

    def evaluator(self) -> dict[str, Any]:
        files = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in self.files
        }
        return {"run": list(self.run), "keys": list(self.keys), "lines": self.lines, "files": files}

    def rehearse(self, seed: int) -> None:
        """One whole trial at the default: the price of a line is its share of that."""
        with (
            self._own_folder() as folder,
            closing(self._start(self.space.default, seed, folder)) as script,
        ):
            with self.meter.charge("line", self.lines):
                while not script.lines()[1]:
                    pass
            script.check()


def filled(
    words: Sequence[str], space: Space, params: Params, given: Mapping[str, object]
) -> list[str]:
    """The words of a command line with their placeholders filled in, each within its word."""
    values = {x.name: x.said(params[x.name]) for x in space.variables} | dict(given)
    return [word.format(**values) for word in words]
