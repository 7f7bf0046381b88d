"""Store reference scores: the default setting, and the better of it and a long tuned run.

    python -m benchmark run --all --suite scripts/references.toml --clock priced
    python scripts/make_references.py results/references

Each score is the median over seeds of a reported metric at the end of the budget. Normalised
scores are anchored to these two, so that they do not move when a method is added.
"""

import json
import statistics
import sys
from pathlib import Path

from benchmark.study.results import Results, load
from tasks.base import REFERENCES


def final(results: Results, task: str, method: str) -> dict[str, float]:
    """Medians over seeds of the metrics of the last evaluated incumbent."""
    frame = results.frame.query("task == @task and method == @method and incumbent")
    names = [metric["name"] for metric in results.tasks[task]["metrics"]]
    last = frame[frame.metric.isin(names)].sort_values("event").groupby(["seed", "metric"]).last()
    return {name: statistics.median(last.xs(name, level="metric").value) for name in names}


def references(results: Results) -> dict[str, object]:
    """The content of the reference file for the tasks in `results`."""
    stored: dict[str, object] = {}
    for task, described in results.tasks.items():
        primary = described["metrics"][0]
        found = {method: final(results, task, method) for method in results.methods}
        sign = -1 if primary["higher_is_better"] else 1
        tuned = min(found, key=lambda method: sign * found[method][primary["name"]])
        runs = results.runs.query("task == @task")
        stored[task] = {
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
    content |= references(load(Path(sys.argv[1])))
    REFERENCES.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
