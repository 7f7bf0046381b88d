"""The makers of shipped data: tasks are found by name, references are medians of final reports."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.finetune.gaussian import FinetuneGaussian
from tasks.make.find import task
from tasks.make.references import references


def test_a_task_is_found_by_its_name() -> None:
    assert task("finetune/gaussian") is FinetuneGaussian
    with pytest.raises(SystemExit, match=r"unknown task 'finetune/none'; known are .*gaussian"):
        task("finetune/none")


def test_references_are_medians_of_the_last_incumbent() -> None:
    name = FinetuneGaussian.metrics[0].name
    sign = 1 if FinetuneGaussian.metrics[0].higher_is_better else -1
    rows = [
        ("finetune/gaussian", method, seed, event, event < 2, name, sign * (base + seed + event))
        for method, base in (("default", 0.0), ("good", 10.0), ("middling", 5.0))
        for seed in (0, 1, 7)
        for event in (0, 1, 2)  # the last one is no incumbent
    ]
    columns = ["task", "method", "seed", "event", "incumbent", "metric", "value"]
    frame = pd.DataFrame(rows, columns=columns).assign(budget=0.5 / 3600)
    found = references(frame)["finetune/gaussian"]
    assert found["scores"] == {"default": {name: sign * 2.0}, "tuned": {name: sign * 12.0}}
    assert found["made_by"] == {"tuned": "good", "seeds": 3, "device_seconds": 0.5}
