"""The table of all methods in docs/findings.md, from the packs of this project and of others.

    python docs/studies/leaderboard.py      # writes it again, after a pack was added or replaced

A block is one task of a suite at one budget, measured by one version: evaluators, references and
targets are those of the version, so that a row does not move when a method is added.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis import measures
from benchmark.display import columns
from benchmark.display.formatting import number
from benchmark.display.table import Block, Cell, Column, Table, markdown
from benchmark.study.merge import merge
from benchmark.study.model import Study

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "findings.md"
BEGIN, END = "<!-- leaderboard -->\n", "<!-- end of the leaderboard -->\n"
REFERENCE = "this project"
CAPTION = (
    "Primary metric at the end of the budget, the best first: mean with 95 % Student-t interval, "
    "geometric for metrics on a log scale. A budget is device time, so rows of different machines "
    "compare roughly. No row is tested against another here."
)
TARGETS = (
    " A target is a share of the gain between the stored references of the task, its value in "
    "brackets; shown is how many of all runs reached it."
)
Row = dict[Any, Any]


def packs(root: Path = ROOT) -> list[Path]:
    """All packs: those of this project first."""
    places = ("results/reference/*.parquet", "results/community/*/*.parquet")
    return [file for place in places for file in sorted(root.glob(place))]


def leaderboard(files: Iterable[Path]) -> str:
    """The section in Markdown. Raises MergeError for packs that do not go together."""
    suites: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        suites[file.stem].append(file)
    blocks: dict[str, list[Row]] = defaultdict(list)
    for own in suites.values():
        merge(ROOT / "nowhere", own, dry=True)  # the same tasks, measured alike; no run twice
        for file in own:
            for title, row in rows(Study.load(file), origin(file)):
                blocks[title].append(row)
    made = [Block(title, shown(found), ordered(found)) for title, found in sorted(blocks.items())]
    targets = any(row["reached"] for found in blocks.values() for row in found)
    caption = CAPTION + TARGETS * targets
    return markdown(Table("leaderboard", "All methods", caption, pd.DataFrame(), made))


def origin(file: Path) -> str:
    return REFERENCE if file.parent.name == "reference" else file.parent.name


def rows(study: Study, source: str) -> Iterator[tuple[str, Row]]:
    """Title of the block and the numbers of every method on every task."""
    quality, costs = measures.quality(study), measures.costs(study)
    for task, label in measures.pairs(study):
        described = next(d for d in study.descriptions if d["spec"]["task"] == task.name)
        version = described["provenance"]["versions"]["diffusion-tuning-benchmark"]
        title = (
            f"{study.name}: {task.name}, {task.primary.title}, {task.budget * 3600:.4g} s a run, "
            f"version {version}"
        )
        at = quality[(quality["task"] == task.name) & (quality["method"] == label)]
        end = at[(at["metric"] == task.primary.name) & (at["fraction"] == 1.0)].to_dict("records")[
            0
        ]
        own = costs[(costs["task"] == task.name) & (costs["method"] == label)]
        reached = {
            f"{cost['target']} ({number(cost['value'])})": f"{cost['successes']}/{cost['runs']}"
            for cost in own.to_dict("records")
        }
        yield (
            title,
            end
            | {
                "reached": reached,
                "order": -end["mean"] if task.primary.higher_is_better else end["mean"],
                "from": source,
                "machine": ", ".join(sorted(task.runs(label)["device"].dropna().unique())),
            },
        )


def ordered(found: Sequence[Row]) -> list[Row]:
    """The best first, those without a finite value last."""
    return sorted(found, key=lambda row: (math.isnan(row["order"]), row["order"], row["method"]))


def shown(found: Sequence[Row]) -> list[Column]:
    targets = dict.fromkeys(target for row in found for target in row["reached"])

    def reached(target: str) -> Column:
        return Column(target, lambda row: Cell(row["reached"].get(target, "-")))

    return [
        columns.text("method"), columns.interval(), columns.numeric("n", written=str),
        *map(reached, targets), columns.text("from"), columns.text("machine"),
    ]  # fmt: skip


def parts(page: str) -> tuple[str, str, str]:
    """The page before the leaderboard, the leaderboard, what follows. Raises ValueError."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page needs the lines {BEGIN.strip()!r} and {END.strip()!r}")
    before, _, rest = page.partition(BEGIN)
    section, _, after = rest.partition(END)
    return before + BEGIN, section, END + after


if __name__ == "__main__":
    before, _, after = parts(PAGE.read_text())
    PAGE.write_text(before + leaderboard(packs()) + after)
    print(f"{len(packs())} packs in {PAGE}", file=sys.stderr)
