"""A task of kind `command` as a suite file states it, checked before anything is started.

[[tasks]]
kind = "command"
name = "command/mine"
run = "python train.py --lr {lr} --act {act} --out {folder} --seed {seed}"
metric = "fid"                # a key of the JSON lines that the script prints
goal = "minimise"             # or "maximise"; "minimise" if left out
report = "test_fid"           # a second key: what tables and figures show; `metric` if left out
lines = 10                    # how many such lines a whole trial prints; 1 if left out
time_limit = 600              # seconds of wall time of one trial; none if left out
resume = "--resume {folder}"  # words that are added when an interrupted trial is started again
budget = 0.002                # GPU-hours of one run
[tasks.space]
lr = { low = 1e-5, high = 1e-1, log = true, default = 1e-2 }
depth = { low = 1, high = 8, type = "int", default = 2 }
act = { choices = ["relu", "silu"], default = "relu" }
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from tasks import tables
from tasks.base import Metric
from tasks.command.task import GIVEN, CommandTask, filled
from tasks.space import Space, Variable

REQUIRED = ("name", "run", "metric", "budget", "space")
OPTIONAL = ("description", "goal", "report", "lines", "time_limit", "resume")
GOALS = {"minimise": False, "maximise": True}
"""Whether higher is better."""


def define(table: Mapping[str, Any], folder: Path) -> type[CommandTask]:
    """The task that a table of a suite file in `folder` states. Raises ValueError, in one line."""
    tables.keys(table, REQUIRED, OPTIONAL)
    tables.texts(table, ("name", "run", "metric", "report", "resume", "description"))
    goal = table.get("goal", "minimise")
    if goal not in GOALS:
        raise ValueError(f"goal must be 'minimise' or 'maximise', got {goal!r}")
    lines = tables.whole("lines", table.get("lines", 1), 1)
    tables.positive(table, ("time_limit", "budget"))
    space = _space(table["space"])
    run, resume = _words("run", table["run"], space), _words("resume", table.get("resume"), space)
    for variable in space.variables:
        if not any(variable.name in _fields(word) for word in run):
            raise ValueError(f"run has no {{{variable.name}}}, which [tasks.space] has")
    if run[0] != "python" and not any(map(shutil.which, (run[0], str(folder / run[0])))):
        raise ValueError(f"run: there is no program {run[0]!r} to start")
    keys = tuple(dict.fromkeys((table["metric"], table.get("report", table["metric"]))))
    attributes = {
        "name": table["name"],
        "description": table.get("description", f"runs {table['run']}"),
        "space": space,
        "metrics": tuple(Metric(key, key, higher_is_better=GOALS[goal]) for key in keys[::-1]),
        "budget": table["budget"],
        "fidelities": lines > 1,
        "run": run,
        "resume": resume,
        "keys": keys,
        "lines": lines,
        "time_limit": table.get("time_limit"),
        "where": folder,
        "files": tuple(folder / word for word in run if (folder / word).is_file()),
    }
    return type("Command", (CommandTask,), {"__module__": CommandTask.__module__} | attributes)


def _space(stated: Any) -> Space:
    if not isinstance(stated, dict) or not stated:
        raise ValueError(
            "[tasks.space] needs a variable such as lr = { low = 1e-5, high = 0.1, default = 0.01 }"
        )
    if taken := [name for name in stated if name in GIVEN or not name.isidentifier()]:
        raise ValueError(
            f"space.{taken[0]}: a variable's name is a word, and none of {', '.join(GIVEN)}"
        )
    return Space(tuple(_variable(name, table) for name, table in stated.items()))


def _variable(name: str, table: Any) -> Variable:
    where = f"space.{name}"
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be a table such as {{ low = 0, high = 1, default = 0.5 }}")
    choices = "choices" in table
    keys = ("choices", "default") if choices else ("low", "high", "default", "log", "type")
    tables.known(f"key in {where}:", table, keys)
    for key in keys[: 2 if choices else 3]:
        if key not in table:
            raise ValueError(f"{where} needs a {key}")
    if choices:
        found = table["choices"]
        if not isinstance(found, list) or not all(_is_word(x) for x in (*found, table["default"])):
            raise ValueError(f"{where}: choices and default must be texts or numbers")
        return Variable.one_of(name, [str(x) for x in found], str(table["default"]))
    kind, log = table.get("type", "float"), table.get("log", False)
    if kind not in ("int", "float") or not isinstance(log, bool):
        raise ValueError(f"{where}: type is 'int' or 'float' and log true or false")
    for key in ("low", "high", "default"):
        if not tables.is_number(table[key]):
            raise ValueError(f"{where}: {key} must be a number, got {table[key]!r}")
    low, high, default = (float(table[key]) for key in ("low", "high", "default"))
    return Variable(name, low, high, default, log, kind == "int")


def _words(key: str, text: str | None, space: Space) -> tuple[str, ...]:
    """The words of a command, which no shell sees, with their placeholders checked."""
    known = (*space.names, *GIVEN)
    try:
        words = tuple(shlex.split(text or ""))
        for word in words:
            for field in _fields(word):
                tables.known(f"placeholder in {key}:", [field], known)
        given = {"folder": "folder", "seed": 0, "device": "cpu"}
        filled(words, space, space.default, given)  # a format that does not fit
    except (ValueError, LookupError) as error:
        hint = "" if "unknown placeholder" in str(error) else "; a brace in a word is written twice"
        raise ValueError(f"{key} = {text!r}: {error}{hint}") from None
    return words


def _fields(word: str) -> list[str]:
    return [field for _, field, _, _ in Formatter().parse(word) if field is not None]


def _is_word(value: Any) -> bool:
    return isinstance(value, str) or tables.is_number(value)
