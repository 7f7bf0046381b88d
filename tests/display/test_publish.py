"""A suite's results as a data set of the hub: read like results, uploaded only if asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import old_results
import pandas as pd
import pytest
from huggingface_hub import DatasetCard
from typer.testing import CliRunner

from benchmark.analysis.verdict import verdict
from benchmark.cli import app
from benchmark.display.publish import card
from benchmark.study.model import Study

RUNS = ("finetune/gaussian/default", "schedule/digits/bilevel")


def command(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine") / "results"
    for run in RUNS:
        old_results.copy(folder / "quick", run, range(2))
    return folder


@pytest.fixture(scope="module")
def published(results: Path) -> Path:
    folder = results.parent / "published"
    command("publish", folder, "--results", results)
    return folder


class Hub:
    """A hub in a folder, in place of the one on the network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create_repo(self, repo: str, *, repo_type: str, exist_ok: bool) -> str:
        assert (repo_type, exist_ok) == ("dataset", True)
        return f"hub/{repo}"

    def upload_folder(
        self, *, repo_id: str, repo_type: str, folder_path: Path, allow_patterns: list[str]
    ) -> None:
        paths = [p for p in sorted(folder_path.rglob("*")) if p.is_file()]
        for path in huggingface_hub.utils.filter_repo_objects(
            paths, allow_patterns=allow_patterns, key=lambda p: str(p.relative_to(folder_path))
        ):
            target = self.folder / repo_id / path.relative_to(folder_path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)

    def snapshot_download(self, repo: str, *, local_dir: Path, **patterns: Any) -> None:
        assert patterns.pop("repo_type") == "dataset"
        paths = [p for p in sorted((self.folder / repo).rglob("*")) if p.is_file()]
        for path in huggingface_hub.utils.filter_repo_objects(
            paths, **patterns, key=lambda p: str(p.relative_to(self.folder / repo))
        ):
            target = local_dir / path.relative_to(self.folder / repo)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    return fake.folder


def test_the_card_says_what_the_results_say_and_where_they_come_from(published: Path) -> None:
    card = DatasetCard.load(published / "README.md")
    assert "diffusion-tuning-benchmark" in card.data.tags
    (config,) = card.data.to_dict()["configs"]
    frame = pd.read_parquet(published / config["data_files"])
    assert set(frame["method"]) == {"default", "bilevel"}
    study = Study.load(published / "quick.parquet")
    for sentence in verdict(study):
        assert sentence in card.text.replace("\\", "")
    stored = study.descriptions[0]["provenance"]
    assert f"- commit: {stored['git']['commit']}" in card.text
    assert f"torch {stored['versions']['torch']}" in card.text
    for picture in ("quick/figures/anytime.png", "quick/report.html", "quick/tables/quality.csv"):
        assert (published / picture).is_file()


def test_reading_commands_take_a_published_folder(published: Path, results: Path) -> None:
    assert "bilevel" in command("table", "--results", published)
    assert "0 show a difference" in command("compare", published, results / "quick")
    joined = results.parent / "joined"
    assert "4 runs added" in command("merge", joined, published)


def test_no_other_readme_is_replaced(results: Path) -> None:
    mine = results.parent / "README.md"
    mine.write_text("# Mine\n")
    said = command("publish", results.parent, "--results", results, code=2)
    assert "README.md is no card of published results" in said
    assert mine.read_text() == "# Mine\n"
    assert not (results.parent / "quick.parquet").exists()


def test_nothing_but_the_results_is_uploaded_and_they_come_back(
    published: Path, results: Path, hub: Path, tmp_path: Path
) -> None:
    (published / "secret.txt").write_text("mine")
    assert not hub.exists()
    said = command("publish", published, "--results", results, "--push", "me/mine")
    assert said.endswith("hub/me/mine")
    assert sorted(path.name for path in (hub / "me" / "mine").iterdir()) == [
        "README.md", "quick", "quick.parquet",
    ]  # fmt: skip
    assert "quick.parquet" in command("fetch", "me/mine", tmp_path / "theirs")
    assert not (tmp_path / "theirs" / "quick").exists()
    assert "bilevel" in command("table", "--results", tmp_path / "theirs")
    assert "holds no packed suite" in command("fetch", "me/none", tmp_path / "none", code=2)


def test_a_card_shows_names_of_strangers_as_they_are(results: Path, tmp_path: Path) -> None:
    copied = tmp_path / "results" / "quick"
    shutil.copytree(results / "quick", copied)
    for file in copied.rglob("run.json"):
        described = json.loads(file.read_text())
        described["provenance"]["command"] = "[click](http://bad) <script>\n# title"
        file.write_text(json.dumps(described))
    assert r"\[click\](http://bad) \<script\> \# title" in card(Study.load(copied))
