"""Runs as version 0.1 stored them, which every later version reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

STORED = Path(__file__).parent / "study" / "data" / "quick"
SEEDS = 2
"""Stored seeds of each run."""


def copy(suite: Path, run: str, seeds: Iterable[int]) -> None:
    """Put some seeds of a stored run, such as `schedule/digits/random`, into a suite's folder.

    Seeds that are not stored are one that is, with its reported values a little larger.
    """
    for seed in seeds:
        folder = suite / "runs" / run / str(seed)
        shutil.copytree(STORED / "runs" / run / str(seed % SEEDS), folder)
        if seed >= SEEDS:
            _rename(folder, seed)


def _rename(folder: Path, seed: int) -> None:
    described = json.loads((folder / "run.json").read_text())
    described["spec"]["seed"] = seed
    (folder / "run.json").write_text(json.dumps(described))
    records = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for record in records:
        if record.get("metrics"):
            record["metrics"] = {
                name: value * (1 + seed / 50) for name, value in record["metrics"].items()
            }
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records))
