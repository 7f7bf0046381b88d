"""A sign of life about once a second: budget used and the best reported metrics."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

from benchmark.runs.clock import Clock
from benchmark.runs.journal import Journal

SECONDS = 1.0


class Heartbeat:
    """Called by the clock after each charged primitive, and by the runner at the end."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._due = 0.0

    def __call__(self, clock: Clock) -> None:
        if time.monotonic() >= self._due:
            self.beat(clock)

    def beat(self, clock: Clock) -> None:
        """Rewrite the run's heartbeat file now."""
        self._due = time.monotonic() + SECONDS
        metrics = self._journal.metrics
        life = {"time": time.time(), "progress": clock.progress, "metrics": metrics}
        file = self._journal.folder.heartbeat
        temporary = file.with_suffix(".tmp")
        with suppress(OSError):  # what goes wrong here is no reason to end a run
            temporary.write_text(json.dumps(life))
            os.replace(temporary, file)
