"""Store reference scores: the default setting, and the better of it and a long tuned run.

    python -m benchmark run --all --suite tasks/make/references.toml --clock priced
    python -m tasks.make.references results/references/frame.parquet

Each score is the median over seeds of a reported metric at the end of the budget. Normalised
scores are anchored to these two, so that they do not move when a method is added.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.base import REFERENCES
from tasks.make.find import task


def final(frame: pd.DataFrame, names: list[str]) -> dict[str, float]:
    """Medians over seeds of the metrics `names` of the last evaluated incumbent of one method."""
    reported = frame[frame.incumbent & frame.metric.isin(names)].sort_values("event")
    last = reported.groupby(["seed", "metric"])["value"].last()
    return {name: float(last.xs(name, level="metric").median()) for name in names}


def references(frame: pd.DataFrame) -> dict[str, Any]:
    """The content of the reference file for the tasks in `frame`, which has a row for each event
    and metric (`task`, `method`, `seed`, `event`, `incumbent`, `metric`, `value`, `budget`)."""
    stored: dict[str, Any] = {}
    for name, runs in frame.groupby("task"):
        metrics = task(str(name)).metrics
        names = [metric.name for metric in metrics if metric.name in set(runs.metric)]
        found = {str(method): final(part, names) for method, part in runs.groupby("method")}
        primary = metrics[0]
        sign = -1 if primary.higher_is_better else 1
        tuned = min(found, key=lambda method: sign * found[method][primary.name])
        stored[str(name)] = {
            "scores": {"default": found["default"], "tuned": found[tuned]},
            "made_by": {
                "tuned": tuned,
                "seeds": int(runs.seed.nunique()),
                "device_seconds": float(runs.budget.iloc[0] * 3600),
            },
        }
    return stored


def main(file: Path) -> None:
    """Add the reference scores of the runs in `file`."""
    content = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {}
    content |= references(pd.read_parquet(file))
    REFERENCES.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
