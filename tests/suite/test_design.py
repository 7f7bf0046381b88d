"""Planned contrasts: read from a suite file, stored before the runs, read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import suite
from benchmark.analysis.comparison import holm, smallest_p
from benchmark.files import BadResults
from benchmark.runs.design import (
    DESIGN,
    LEVEL,
    Contrast,
    Design,
    combined,
    read_design,
    record_design,
)
from benchmark.suite import SuiteError

BASE = """
focus = "bilevel"
smallest_effect = 0.02
targets = [0.25, 1]
[[tasks]]
name = "finetune/gaussian"
[[tasks]]
name = "schedule/gaussian"
[[methods]]
name = "default"
[[methods]]
name = "random"
[[methods]]
name = "successive-halving"
tasks = ["schedule/*"]
[[methods]]
name = "bilevel"
[[contrasts]]
name = "against the default"
against = "default"
[[contrasts]]
name = "against searches"
against = ["random", "successive-halving"]
tasks = ["schedule/*"]
"""


def load(tmp_path: Path, content: str) -> suite.Suite:
    path = tmp_path / "planned.toml"
    path.write_text(content)
    return suite.load(str(path))


def test_a_contrast_becomes_one_row_per_task(tmp_path: Path) -> None:
    found = load(tmp_path, BASE).design
    assert (found.focus, found.smallest_effect, found.targets) == ("bilevel", 0.02, (0.25, 1.0))
    assert found.contrasts == (
        Contrast("against the default", "finetune/gaussian", "bilevel", ("default",)),
        Contrast("against the default", "schedule/gaussian", "bilevel", ("default",)),
        Contrast(
            "against searches", "schedule/gaussian", "bilevel", ("random", "successive-halving")
        ),
    )


def test_a_group_is_what_there_is_of_it_on_a_task(tmp_path: Path) -> None:
    content = BASE.replace('["random", "successive-halving"]', '["best:multi-fidelity", "random"]')
    content = content.replace('tasks = ["schedule/*"]\n', "", 2).replace(
        'name = "successive-halving"\n', 'name = "successive-halving"\ntasks = ["schedule/*"]\n'
    )
    rows = [row.against for row in load(tmp_path, content).design.contrasts[2:]]
    assert rows == [("random",), ("successive-halving", "random")]


def test_a_suite_without_contrasts_plans_nothing(tmp_path: Path) -> None:
    content = BASE[BASE.index("[[tasks]]") : BASE.index("[[contrasts]]")]
    assert load(tmp_path, content).design == Design()


def test_narrowing_a_suite_leaves_its_design(tmp_path: Path) -> None:
    whole = load(tmp_path, BASE)
    assert suite.select(whole, tasks=["finetune/*"], methods=["random"]).design == whole.design


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('focus = "bilevel"', 'focus = "bilevl"', "label in focus: 'bilevl'; did you mean"),
        ('focus = "bilevel"', "focus = 3", "focus must be the label of a method"),
        ('focus = "bilevel"', "", "needs a method, or the suite a focus"),
        ("0.02", "-1", "smallest_effect must be"),
        ("0.02", "nan", "smallest_effect must be"),
        ("[0.25, 1]", "0.5", "targets must be a list"),
        ("[0.25, 1]", '["a"]', "targets must be a list"),
        ('against = "default"', 'against = "defualt"', "did you mean 'default'"),
        ('against = "default"', 'against = "best:searhc"', "group in contrast"),
        ('against = "default"', "against = []", "against must be a label"),
        ('against = "default"', "", "against must be a label"),
        ('against = "default"', 'against = "bilevel"', "is compared with itself"),
        ('"random", "succ', '"random", "random", "succ', "'random' appears twice"),
        ('tasks = ["schedule/*"]\n', "", "successive-halving does not take part in finetune/gau"),
        ('against = "default"', 'against = "default"\ntasks = ["x/*"]', "fit none of the suite"),
        ('name = "against searches"', 'name = "against the default"', "appears twice"),
        ('name = "against searches"', "", "needs a name"),
        ('against = "default"', 'againts = "default"', "did you mean 'against'"),
    ],
)  # fmt: skip
def test_bad_contrasts_are_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in BASE
    content = BASE if old != 'tasks = ["schedule/*"]\n' else BASE[: BASE.rindex("tasks =")]
    content = content.replace(old, new) if content is BASE else content
    with pytest.raises(SuiteError, match=message) as caught:
        load(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'planned.toml'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("contrasts", "seeds"), [(0, 1), (1, 6), (2, 7), (3, 7), (4, 8), (9, 9)])
def test_least_seeds_are_those_whose_smallest_p_passes_holm(contrasts: int, seeds: int) -> None:
    rows = tuple(Contrast(str(k), "task", "method", ("other",)) for k in range(contrasts))
    design = Design(contrasts=rows)
    assert design.least_seeds == seeds
    if contrasts:
        assert holm([smallest_p(seeds)] * contrasts).max() < LEVEL
        assert holm([smallest_p(seeds - 1)] * contrasts).max() >= LEVEL


def test_the_stored_design_is_read_back(tmp_path: Path) -> None:
    design = load(tmp_path, BASE).design
    record_design(tmp_path / "results", design)
    record_design(tmp_path / "results", design)
    assert read_design(tmp_path / "results") == design


names = st.text(st.characters(categories=["L", "Nd"], max_codepoint=0x24F), min_size=1, max_size=5)
contrasts = st.builds(Contrast, names, names, names, st.lists(names, min_size=1).map(tuple))


@given(contrasts=st.lists(contrasts, max_size=3).map(tuple), effect=st.floats(0, 0.99))
def test_any_design_survives_storage(
    tmp_path_factory: pytest.TempPathFactory, contrasts: tuple[Contrast, ...], effect: float
) -> None:
    folder = tmp_path_factory.mktemp("design")
    design = Design(smallest_effect=effect, contrasts=contrasts)
    record_design(folder, design)
    assert read_design(folder) == design


def test_results_of_older_versions_have_an_empty_design(tmp_path: Path) -> None:
    assert read_design(tmp_path) == Design()


def test_a_design_that_comes_after_the_runs_is_marked(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    design = load(tmp_path, BASE).design
    record_design(tmp_path, design)
    assert read_design(tmp_path) == replace(design, changed=True)


def test_a_changed_design_stays_marked(tmp_path: Path) -> None:
    design = load(tmp_path, BASE).design
    record_design(tmp_path, design)
    record_design(tmp_path, replace(design, smallest_effect=0.0))
    assert read_design(tmp_path) == replace(design, smallest_effect=0.0, changed=True)
    record_design(tmp_path, replace(design, smallest_effect=0.0))
    assert read_design(tmp_path).changed
    other = replace(design, focus=None)
    assert combined([design, other]) == replace(design, changed=True)
    assert combined([design, design]) == design


@pytest.mark.parametrize("content", ["[]", "{}", '{"focus": 1}', "nonsense"])
def test_a_damaged_design_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / DESIGN).write_text(content)
    with pytest.raises(BadResults, match=r"design\.json is damaged"):
        read_design(tmp_path)
