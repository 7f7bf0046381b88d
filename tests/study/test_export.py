"""What others read: Optuna studies, DuckDB and pandas, LaTeX, BibTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import old_results
import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.display.tables import write_tables
from benchmark.files import BadResults
from benchmark.runs.description import SCHEMA_VERSION
from benchmark.study.export import START, export
from benchmark.study.model import Study
from benchmark.study.results import load, save_frame

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "results.md"
RUNS = ("finetune/gaussian/random", "schedule/digits/random", "schedule/digits/bilevel")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    for run in RUNS:
        old_results.copy(tmp_path / "results" / "quick", run, (0, 1))
    return tmp_path / "results" / "quick"


def all_studies(storage: JournalStorage) -> list[optuna.Study]:
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def test_studies_hold_what_the_frame_holds(suite: Path, tmp_path: Path) -> None:
    path = tmp_path / "studies.journal"
    result = CliRunner().invoke(app, ["export", str(path), "--results", str(suite.parent)])
    assert result.exit_code == 0, result.output
    storage = journal(path)
    assert len(optuna.get_all_study_names(storage)) == 6
    study = optuna.load_study(study_name="quick/schedule/digits/random/1", storage=storage)
    frame = load(suite).frame.query(
        "task == 'schedule/digits' and method == 'random' and seed == 1"
    )
    wide = frame.pivot_table(index="event", columns="metric", values="value")
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert [trial.value for trial in study.trials] == wide["score"].tolist()
    assert study.best_value == wide["score"].min()
    for trial, (_, row) in zip(study.trials, wide.iterrows(), strict=True):
        for name, value in trial.params.items():
            assert value == pytest.approx(row[f"param:{name}"], rel=1e-12)
        if pd.notna(row["fid"]):
            assert trial.user_attrs["fid"] == row["fid"]
    assert study.trials[0].distributions["tau"].log
    assert study.user_attrs["evaluator"]["report_samples"] == 2000
    assert study.user_attrs["status"] == "finished"
    hours = frame.groupby("event")["gpu_hours"].first().tolist()
    assert [trial.user_attrs["gpu_hours"] for trial in study.trials] == hours
    assert study.metric_names == ["score"]
    ends = [trial.datetime_complete - START for trial in study.trials]
    assert [end.total_seconds() / 3600 for end in ends] == pytest.approx(hours, abs=1e-9)
    assert study.trials[1].datetime_start == study.trials[0].datetime_complete


def test_a_run_without_scores_has_its_reported_metric(suite: Path, tmp_path: Path) -> None:
    path = tmp_path / "studies.journal"
    CliRunner().invoke(app, ["export", str(path), "--results", str(suite.parent)])
    study = optuna.load_study(study_name="quick/schedule/digits/bilevel/0", storage=journal(path))
    assert study.user_attrs["objective"] == "fid"
    frame = load(suite).frame.query("method == 'bilevel' and seed == 0 and metric == 'fid'")
    assert study.best_value == frame["value"].min()
    assert "shown:sampling: tau" in study.trials[-1].user_attrs
    pruned = [t for t in study.trials if t.state == optuna.trial.TrialState.PRUNED]
    assert len(study.trials) - len(pruned) == len(frame)


def contents(storage: JournalStorage) -> dict[str, Any]:
    return {
        study.study_name: (
            study.direction,
            study.user_attrs,
            [(trial.params, trial.values, trial.user_attrs) for trial in study.trials],
        )
        for study in all_studies(storage)
    }


def test_a_followed_file_grows_into_what_an_export_at_the_end_writes(
    suite: Path, tmp_path: Path
) -> None:
    log = suite / "runs/schedule/digits/random/0/events.jsonl"
    whole = log.read_text()
    log.write_text("".join(whole.splitlines(keepends=True)[:4]))
    late = suite / "runs/schedule/digits/bilevel/1"
    late.rename(tmp_path / "late")
    path = tmp_path / "studies.journal"
    readers = []

    def grown() -> Iterator[Study]:
        yield Study.load(suite)  # nothing new
        readers.append(journal(path))  # as a dashboard that is open
        assert len(contents(readers[0])) == 5
        log.write_text(whole)
        (tmp_path / "late").rename(late)
        yield Study.load(suite)

    assert export(Study.load(suite), path, grown()) == 6
    export(Study.load(suite), tmp_path / "end.journal")
    assert contents(readers[0]) == contents(journal(tmp_path / "end.journal"))


def test_a_run_that_starts_over_ends_the_following_of_it(suite: Path, tmp_path: Path) -> None:
    def fresh() -> Iterator[Study]:
        run = suite / "runs/schedule/digits/random"
        shutil.copy(run / "1/events.jsonl", run / "0/events.jsonl")
        yield Study.load(suite)

    with pytest.raises(BadResults, match="quick/schedule/digits/random/0 has started over"):
        export(Study.load(suite), tmp_path / "studies.journal", fresh())


def test_an_existing_file_is_not_touched(suite: Path, tmp_path: Path) -> None:
    path = tmp_path / "studies.journal"
    path.write_text("mine")
    result = CliRunner().invoke(app, ["export", str(path), "--results", str(suite.parent)])
    assert result.exit_code == 2
    assert "exists" in result.stderr
    assert path.read_text() == "mine"


def documented(language: str) -> str:
    """The first block of code in that language in docs/results.md."""
    found = re.search(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def test_the_line_for_pandas_in_the_docs_reads_the_frame(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_frame(load(suite))
    monkeypatch.chdir(suite.parents[1])
    names: dict[str, Any] = {}
    exec(documented("python"), names)
    pd.testing.assert_frame_equal(names["frame"], load(suite).frame)


def test_the_query_for_duckdb_in_the_docs_is_what_runs_deliver(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    save_frame(load(suite))
    monkeypatch.chdir(suite.parents[1])
    found = {(method, seed): fid for method, seed, fid in duckdb.sql(documented("sql")).fetchall()}
    frame = load(suite).frame.query("task == 'schedule/digits' and metric == 'fid' and incumbent")
    last = frame.sort_values("event").groupby(["method", "seed"])["value"].last()
    assert found == last.to_dict()
    assert len(found) == 4


def test_the_documented_columns_are_those_of_the_frame(suite: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert f"schema version {SCHEMA_VERSION})" in text
    table = text.split("| column | type | meaning |")[1].split("\n\n")[0]
    kinds = {"str": "str", "int": "int64", "float": "float64", "bool": "bool"}
    found = {}
    for line in table.strip().splitlines()[1:]:
        names, types = (cell.strip().split(", ") for cell in line.split("|")[1:3])
        types = types * len(names) if len(types) == 1 else types
        found |= {name: kinds[kind] for name, kind in zip(names, types, strict=True)}
    frame = pd.read_parquet(save_frame(load(suite)))
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == found


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_tables_compile(suite: Path, tmp_path: Path) -> None:
    written = [path for path in write_tables(load(suite), tmp_path) if path.suffix == ".tex"]
    body = "\n".join(rf"\input{{{path.name}}}\clearpage" for path in written)
    (tmp_path / "all.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}" + body + r"\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("pdflatex") and shutil.which("bibtex")), reason="LaTeX is not installed"
)
def test_a_paper_with_tables_and_all_citations_compiles(suite: Path, tmp_path: Path) -> None:
    """What `cite` prints, as a bibliography under a table."""
    write_tables(load(suite), tmp_path)
    cited = CliRunner().invoke(app, ["cite"]).output
    (tmp_path / "references.bib").write_text(cited, encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,url}\begin{document}"
        r"\input{quality.tex}\nocite{*}\bibliographystyle{plain}\bibliography{references}"
        r"\end{document}"
    )
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"]
    for command in (latex, ["bibtex", "paper"], latex, latex):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:]
        assert command is latex or "Warning" not in done.stdout, done.stdout
    keys = re.findall(r"^@\w+\{([^,]+),", cited, flags=re.MULTILINE)
    printed = re.findall(r"\\bibitem\{([^}]+)\}", (tmp_path / "paper.bbl").read_text())
    assert sorted(printed) == sorted(keys)


def test_every_method_and_the_suite_can_be_cited() -> None:
    result = CliRunner().invoke(app, ["cite"])
    assert result.exit_code == 0, result.output
    keys = re.findall(r"^@\w+\{([^,]+),", result.output, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    assert {"xiao2025", "bergstra2012", "akiba2019"} <= set(keys)
    assert result.output.count("{") == result.output.count("}")
    one = CliRunner().invoke(app, ["cite", "optuna-tpe"])
    assert re.findall(r"^@\w+\{([^,]+),", one.output, flags=re.MULTILINE)[1:] == [
        "akiba2019", "bergstra2011"
    ]  # fmt: skip
    wrong = CliRunner().invoke(app, ["cite", "nobody"])
    assert wrong.exit_code == 2


def test_a_method_with_a_citation_has_an_entry() -> None:
    from benchmark import citations, registry

    without = [
        name
        for name, method in registry.all_methods().items()
        if method.citation != "-" and not citations.of_method(name)
    ]
    assert not without
