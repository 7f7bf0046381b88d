"""The load test in small: what it measures, and what it says of a clock that load bends."""

from dataclasses import replace

from tests.speed.load import Measured, load, main, problems


def test_load_is_measured(capsys):
    arguments = ["--task", "schedule/gaussian", "--method", "default", "--seeds", "1"]
    main([*arguments, "--seconds", "0.5", "--loops", "0", "1"])
    printed = capsys.readouterr().out
    assert printed.count("| `default` | 0 |") == 2


def test_busy_loops_end():
    with load(1):
        pass


def test_fewer_images_and_other_values_are_named():
    idle = [Measured(0, "default", seed, 10, 10, 1000, 9.0 + seed / 10) for seed in range(3)]
    assert list(problems([*idle, *(replace(one, loops=1) for one in idle)])) == []
    slow = [replace(one, loops=1, images=500) for one in idle]
    assert "0.50 of the images" in next(problems([*idle, *slow]))
    worse = [replace(one, loops=3, value=2 * one.value) for one in idle]
    assert "2.00 times off" in next(problems([*idle, *worse]))
