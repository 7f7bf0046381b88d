import pytest
from suites import GOOD

from benchmark import registry, suite
from benchmark.registry import UnknownName
from benchmark.suite import SuiteError


def load_text(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return suite.load(str(path))


def test_a_suite_becomes_runs(tmp_path):
    loaded = load_text(tmp_path, GOOD)
    specs = loaded.specs(tmp_path, "device", "cpu")
    assert [(s.task, s.label, s.seed) for s in specs] == [
        ("finetune/gaussian", "random", 0),
        ("finetune/gaussian", "grid-9", 0),
        ("finetune/gaussian", "random", 1),
        ("finetune/gaussian", "grid-9", 1),
    ]
    assert specs[1].options == {"levels": 9}
    assert specs[0].budget == 0.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds = 2", "sedes = 2"), "did you mean 'seeds'"),
        (("seeds = 2", "seeds = 0"), "seeds must be a whole number of at least 1, got 0"),
        (("seeds = 2", "seeds = 1.5"), "seeds must be a whole number"),
        (("finetune/gaussian", "finetune/gausian"), "did you mean 'finetune/gaussian'"),
        (('"random"', '"radnom"'), "did you mean 'random'"),
        (("budget = 0.001", "budget = -1"), "positive number of GPU-hours"),
        (("budget = 0.001", "budget = inf"), "positive number of GPU-hours"),
        (("budget = 0.001", "budget = 1e-9"), "less than"),
        (("levels = 9", "level = 9"), "did you mean 'levels'"),
        (("levels = 9", "levels = 1"), "levels must be at least 2"),
        (("grid-9", "random"), "'random' appears twice"),
        (("grid-9", "../escape"), "label must be"),
        (("grid-9", ".."), "label must be"),
        (("seeds = 2", "seeds = "), "not a TOML file"),
        (('["finetune/*"]', '["schedule/*"]'), "fits none"),
    ],
)
def test_bad_suites_are_refused_with_what_would_be_right(tmp_path, change, message):
    assert change[0] in GOOD
    with pytest.raises(SuiteError, match=message):
        load_text(tmp_path, GOOD.replace(*change))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{ tial = 0 }", "unknown setting 'tial'; did you mean 'tail'"),
        ("{ tail = 2 }", "tail must"),
        ('{ follow_rate = "fast" }', "follow_rate must be a number, got 'fast'"),
        ("{ entropy = -1 }", "entropy must be at least 0, got -1"),
        ("{ follow_steps = 2.5 }", "follow_steps must be a whole number"),
        ("{ learn_sampling = 1 }", "learn_sampling must be true or false"),
    ],
)
def test_settings_of_a_solver_are_checked_too(tmp_path, options, message):
    text = f"""
[[tasks]]
name = "schedule/gaussian"
[[methods]]
name = "bilevel"
options = {{ schedule = {options} }}
"""
    with pytest.raises(SuiteError, match=message):
        load_text(tmp_path, text)


def test_unknown_suites_offer_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'quick'"):
        suite.load("quik")


def test_a_missing_suite_file_is_called_missing():
    with pytest.raises(SuiteError, match=r"mine\.toml: no such file"):
        suite.load("mine.toml")


@pytest.mark.parametrize("name", list(suite.shipped()))
def test_shipped_suites_load_and_have_runs(name):
    assert suite.load(name).pairs()


def test_selection_narrows_adds_and_overrides(tmp_path):
    loaded = load_text(tmp_path, GOOD)
    chosen = suite.select(loaded, methods=["grid*", "sobol"], seeds=1, budget=0.002)
    assert [entry.label for entry in chosen.methods] == ["grid-9", "sobol"]
    assert chosen.seeds == 1
    assert chosen.tasks[0].budget == 0.002
    with pytest.raises(UnknownName, match="did you mean"):
        suite.select(loaded, methods=["randon"])
    with pytest.raises(UnknownName):
        suite.select(loaded, tasks=["nothing/*"])


def test_a_method_file_joins_a_suite(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from methods.random import RandomSearch\n"
        "class Mine(RandomSearch):\n    'Mine.'\n    name = 'mine'\n"
    )
    chosen = suite.select(load_text(tmp_path, GOOD), methods=[str(file), "random"])
    assert [entry.label for entry in chosen.methods] == ["random", "mine"]
    assert registry.method(chosen.methods[1].name).name == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import nowhere_to_be_found\n", "nowhere_to_be_found"),
        ("x = 1\n", "found none"),
    ],
)
def test_broken_method_files_are_named(tmp_path, content, message):
    file = tmp_path / "broken.py"
    file.write_text(content)
    with pytest.raises(registry.BrokenModule, match=message) as caught:
        registry.method(str(file))
    assert str(file) in str(caught.value)
