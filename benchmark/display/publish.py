"""A folder with a suite's results as the Hugging Face hub has data sets: `README.md` is its card.

    README.md            what the results say, what was run, and where it comes from
    SUITE.parquet        all runs, packed
    SUITE/               frame, tables, figures and page

The folder is laid out as a folder of results, so every command reads it as it reads `results`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmark.analysis.verdict import EXPLANATION, verdict
from benchmark.display import draw
from benchmark.display.page import provenance, write_report
from benchmark.display.table import literal, markdown
from benchmark.display.tables import MAKERS, methods
from benchmark.errors import UserError
from benchmark.files import write_atomic
from benchmark.study.model import Study
from benchmark.study.pack import pack
from benchmark.study.stored import PACKED, StoredSuite

CARD = "README.md"
TAG = "diffusion-tuning-benchmark"
"""Of every card that is written here, by which it may be written again, and found on the hub."""


def publish(suite: StoredSuite, folder: Path) -> list[Path]:
    """Write the results of a suite into `folder`, which is made if it is missing; returns paths.

    Raises UserError rather than replacing a README.md that is not of published results, and
    whatever `pack` raises.
    """
    readme = folder / CARD
    if readme.exists() and f"- {TAG}\n" not in readme.read_text("utf-8", errors="replace"):
        raise UserError(f"{readme} is no card of published results; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / (suite.folder.name + PACKED)
    pack(suite, file)
    study = Study.load(file)
    drawn = draw(study, formats=("png",))
    page = write_report(study, study.folder)
    write_atomic(readme, card(study))
    return [readme, file, *drawn, page]


def push(folder: Path, repository: str) -> str:
    """Upload a published folder into the data set `USER/NAME` of the hub, with the user's token;
    returns its address. Raises OSError where the hub refuses."""
    from huggingface_hub import HfApi

    api = HfApi()
    address = api.create_repo(repository, repo_type="dataset", exist_ok=True)
    names = [file.name for file in folder.glob("*" + PACKED)]
    parts = [f"{name.removesuffix(PACKED)}/*" for name in names]
    api.upload_folder(
        repo_id=repository, repo_type="dataset", folder_path=folder,
        allow_patterns=[CARD, *names, *parts],
    )  # fmt: skip
    return str(address)


def fetch(repository: str, folder: Path) -> list[Path]:
    """Download the packed suites and the card of the data set `USER/NAME`; returns the packs.

    Raises OSError where the hub refuses, and UserError for a data set without any.
    """
    from huggingface_hub import snapshot_download

    snapshot_download(
        repository, repo_type="dataset", local_dir=folder,
        allow_patterns=[CARD, "*" + PACKED], ignore_patterns=["*/*"],
    )  # fmt: skip
    packs = sorted(folder.glob("*" + PACKED))
    if not packs:
        raise UserError(f"{repository} holds no packed suite")
    return packs


def card(study: Study) -> str:
    """The card in Markdown, with the hub's metadata as YAML in front."""
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        license="mit",
        pretty_name=f"Diffusion tuning benchmark: {study.name}",
        tags=[TAG, "diffusion", "hyperparameter-optimization"],
        configs=[{"config_name": "events", "data_files": f"{study.name}/frame.parquet"}],
    )
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(_paragraphs(study)) + "\n"


def _paragraphs(study: Study) -> Iterator[str]:
    yield f"# Results of the suite {literal(study.name)}"
    yield from map(literal, verdict(study))
    yield literal(EXPLANATION)
    picture = f"{study.name}/figures/anytime.png"
    if (study.folder.parent / picture).exists():
        yield f"![What each method would deliver if it were stopped now]({picture})"
    for name in ("contrasts", "quality"):
        made = MAKERS[name](study)
        if made.blocks:
            yield f"## {made.title}"
            yield markdown(made).strip()
    yield "## What was run"
    yield "\n".join(
        f"- {literal(task.name)}: {literal(task.description)}; "
        f"{task.budget * 3600:.4g} s of device time a run"
        for task in study.tasks.values()
    )
    for made in (methods(study), provenance.runs(study)):
        yield markdown(made).strip()
    yield "## Where it comes from"
    for setting in provenance.settings(study):
        facts = [("runs", str(setting.runs)), *setting.facts]
        facts += [("command", command) for command, _ in setting.commands]
        yield "\n".join(f"- {name}: {literal(value)}" for name, value in facts)
    yield "## Read it"
    yield (
        "```sh\npython -m benchmark fetch USER/NAME published\n"
        f"python -m benchmark report --suite {study.name} --results published\n"
        f"python -m benchmark verify published/{study.name}{PACKED}\n```"
    )
