"""A pipeline of one's own as a task, from the files that the documentation shows."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("transformers")

from benchmark import registry
from tasks.finetune.pipelines.definition import OPTIONAL, REQUIRED, define
from tests import commands
from tests.speed import tiny_pipeline

PAGE = (Path(__file__).parents[2] / "docs" / "your-data-and-models.md").read_text()
SECTION = PAGE.split("## Your own pipeline")[1].split("\n## ")[0]
SUITE, REWARDS = (SECTION.split(f"```{kind}\n")[1].split("```")[0] for kind in ("toml", "python"))
SMALL = {"steps": 2, "samples": 20, "evaluation_samples": 6, "reference_samples": 6}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the page's files, a tiny pipeline and two prompts."""
    suite = SUITE
    for key, count in SMALL.items():
        stated = next(line for line in SUITE.splitlines() if line.startswith(f"{key} = "))
        suite = suite.replace(stated, f"{key} = {count}")
    (tmp_path / "mine.toml").write_text(suite.replace("budget = 2.0", "budget = 0.001"))
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    (tmp_path / "prompts.txt").write_text("a fox\na house\n")
    tiny_pipeline.save_kind(tmp_path, "sd1").rename(tmp_path / "my-pipeline")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DTB_INCEPTION", raising=False)
    monkeypatch.setattr(registry, "_added", {base: {} for base in registry._added})
    return tmp_path


def benchmark(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments], capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_page_states_a_task_with_every_key_and_its_default(folder: Path) -> None:
    (table,) = tomllib.loads(SUITE)["tasks"]
    assert table.keys() == {*REQUIRED, "kind", *OPTIONAL} - {"description"}
    stated = define(table, folder)
    bare = define({key: table[key] for key in REQUIRED}, folder)
    for name in ("space", "batch", "steps", "samples", "evaluation_samples", "reference_samples"):
        assert getattr(stated, name) == getattr(bare, name)


@pytest.mark.usefixtures("undrawn")
def test_the_suite_of_the_page_runs(folder: Path) -> None:
    small = ("--method", "bilevel", "--seeds", "1", "--clock", "priced", "--workers", "0")
    said = commands.benchmark("run", "--suite", "mine.toml", *small)
    assert said.count(": finished") == 1
    frame = pd.read_parquet(folder / "results/mine/frame.parquet")
    assert {"reward", "lower_reward", "raw_reward", "path_kl"} <= set(frame["metric"])
    assert frame["value"].notna().all()


@pytest.mark.slow
def test_the_page_is_followed(folder: Path) -> None:
    said = benchmark("check", "mine.toml")
    assert said.count(" ok ") == 9
    small = ("--seeds", "1", "--clock", "priced", "--workers", "0")
    said = benchmark("run", "--all", "--suite", "mine.toml", *small)
    assert said.count(": finished") == 3
    frame = pd.read_parquet(folder / "results/mine/frame.parquet")
    assert {"reward", "lower_reward", "raw_reward", "path_kl"} <= set(frame["metric"])
    assert frame["value"].notna().all()
    (folder / "my_rewards.py").write_text(REWARDS.replace("mean(", "sum("))
    said = benchmark("run", "--all", "--suite", "mine.toml", *small, "--budget", "0.002", code=1)
    assert "evaluator" in said
    described = folder / "results/mine/runs/diffusers/mine/bilevel/0/run.json"
    evaluator = json.loads(described.read_text())["task"]["evaluator"]
    assert evaluator["prompts"] == ["a fox", "a house"]
    assert evaluator["weights"]["r1"].startswith("my_rewards:contrast ")


def test_what_is_missing_is_said_in_one_line_before_anything_runs(folder: Path) -> None:
    (folder / "my-pipeline" / "model_index.json").unlink()
    said = benchmark("run", "--all", "--suite", "mine.toml", code=2)
    assert said.startswith("error: diffusers/mine cannot run here: ")
    assert "no pipeline, which is a folder that diffusers' `save_pretrained` has written" in said
    assert "prepare" not in said
    assert said.count("\n") == 1
    assert not list(folder.rglob("run.json"))
