"""Store reference scores: the default setting, and the better of it and a long tuned run.

    python -m benchmark run --all --suite scripts/references.toml --clock priced
    python scripts/make_references.py results/references

Each score is the median over seeds of a reported metric at the end of the budget. Normalised
scores are anchored to these two, so that they do not move when a method is added.
"""

import json
import statistics
import sys

from benchmark.study.model import Study, Task
from tasks.base import REFERENCES


def final(task: Task, method: str) -> dict[str, float]:
    """Medians over seeds of the metrics of the last evaluated incumbent."""
    return {
        metric.name: statistics.median(run.values[-1] for run in task.trace(method, metric.name))
        for metric in task.metrics
    }


def references(study: Study) -> dict[str, object]:
    """The content of the reference file for the tasks of `study`."""
    stored: dict[str, object] = {}
    for name, task in study.tasks.items():
        found = {method: final(task, method) for method in task.methods}
        sign = -1 if task.primary.higher_is_better else 1
        tuned = min(found, key=lambda method: sign * found[method][task.primary.name])
        runs = task.runs()
        stored[name] = {
            "scores": {"default": found["default"], "tuned": found[tuned]},
            "made_by": {
                "tuned": tuned,
                "seeds": int(runs.seed.nunique()),
                "device_seconds": float(runs.budget.iloc[0] * 3600),
                "clock": str(runs.clock.iloc[0]),
                "device": str(runs.device.iloc[0]),
            },
        }
    return stored


if __name__ == "__main__":
    content = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {}
    content |= references(Study.load(sys.argv[1]))
    REFERENCES.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
