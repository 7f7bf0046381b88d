import importlib
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from benchmark import registry
from methods.base import Method

FILE = """
from methods.random import RandomSearch

class Mine(RandomSearch):
    "A method in a dropped file."
    name = "{name}"
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package standing for the methods room."""
    folder = tmp_path / "room_of_methods"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("room_of_methods")]:
        del sys.modules[name]


def collect():
    return registry._collect(Method, importlib.import_module("room_of_methods"), "none")


def test_a_dropped_file_is_found(package):
    (package / "mine.py").write_text(FILE.format(name="mine"))
    assert list(collect()) == ["mine"]


def test_imported_and_abstract_classes_are_not_methods_of_a_file(package):
    (package / "mine.py").write_text("from methods.random import RandomSearch\n")
    assert collect() == {}


def test_two_files_of_one_name_are_refused_by_both_names(package):
    for file in ("one", "two"):
        (package / f"{file}.py").write_text(FILE.format(name="mine"))
    with pytest.raises(
        registry.BrokenModule, match=r"room_of_methods\.two and room_of_methods\.one"
    ):
        collect()


def test_a_broken_file_is_named(package):
    (package / "broken.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(registry.BrokenModule, match=r"room_of_methods/broken\.py.*nowhere"):
        collect()


def test_an_installed_distribution_announces_methods(package, monkeypatch):
    (package / "mine.py").write_text(FILE.format(name="mine"))
    entry = EntryPoint("mine", "room_of_methods.mine:Mine", "diffusion_tuning_benchmark.methods")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    nothing = ModuleType("nothing")
    nothing.__path__ = []
    assert list(registry._collect(Method, nothing, "methods")) == ["mine"]


def test_shipped_names_and_suites_agree():
    assert {"default", "grid", "random", "sobol", "bilevel"} <= set(registry.all_methods())
    families = {cls.family for cls in registry.all_tasks().values()}
    assert families == {"finetune", "finetune-trained", "schedule"}
