"""The example of a training script as a task, as the documentation has it."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from tasks.command.definition import OPTIONAL, REQUIRED, define
from tests.commands import benchmark

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.usefixtures("undrawn")
def test_the_example_is_tuned(tmp_path: Path) -> None:
    for file in (DOCS / "examples").iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    suite = tmp_path / "train_unconditional.toml"
    text = suite.read_text()
    assert text.count('name = "random"\n') == 1
    assert text.count(" --output_dir") == 1
    text = text.replace('"random"\n', '"random"\noptions = { trials = 2 }\n')
    short = " --max_train_steps 6 --checkpointing_steps 2 --output_dir"
    suite.write_text(text.replace(" --output_dir", short))
    command = "run --suite train_unconditional.toml --method random --workers 0 --budget 1"
    benchmark(*command.split(), cwd=tmp_path)
    (trials,) = tmp_path.rglob("trials")
    assert sorted(path.name for path in trials.iterdir()) == ["000001", "000002", "develop"]
    first = trials / "000001"
    assert json.loads((first / "trial.json").read_text())["values"] == {
        "learning_rate": 1e-4, "layers": 2, "act": "silu"
    }  # fmt: skip
    assert (first / "checkpoint.pt").exists()
    lines = [json.loads(line) for line in (first / "stdout.txt").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    frame = pd.read_parquet(tmp_path / "results/train_unconditional/frame.parquet")
    reported = frame[frame["metric"] == "test_loss"]["value"]
    assert reported.iloc[0] == lines[-1]["test_loss"]
    assert reported.min() <= reported.iloc[0]


def test_the_page_states_a_task_with_every_key(tmp_path: Path) -> None:
    page = (DOCS / "your-data-and-models.md").read_text()
    block = page.split("## Your training script")[1].split("```toml\n")[1].split("```")[0]
    (table,) = tomllib.loads(block)["tasks"]
    task = define(table, tmp_path)
    assert [metric.name for metric in task.metrics] == ["test_fid", "fid"]
    assert table.keys() == {*REQUIRED, "kind", *OPTIONAL} - {"description"}
