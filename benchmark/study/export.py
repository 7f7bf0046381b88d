"""Stored runs as Optuna studies, for optuna-dashboard and Optuna's own plots.

    python -m benchmark export studies.journal --suite quick
    optuna-dashboard studies.journal

One study per run, called `SUITE/TASK/METHOD/SEED`; one trial per recorded event. The objective is
the selection score (minimised); in runs that record none, as single-run methods may, it is the
task's primary reported metric. An event without a value of the objective becomes a pruned trial.
Times count charged device time from 1 January 1970: a log has no dates of its events.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from benchmark.files import BadResults
from benchmark.runs.description import SCHEMA_VERSION
from benchmark.study.model import Study, Variable

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

FACTS = ("gpu_hours", "nfe", "train_images", "scored_images", "fidelity", "incumbent", "kind")
"""Columns of the frame that every trial carries as user attributes, beside all its metrics."""

START = datetime(1970, 1, 1)
"""Date at which a run's charged time begins in the studies."""


def export(stored: Study, path: Path, later: Iterable[Study] = ()) -> int:
    """Write all runs as studies into the journal `path`, whole or not at all; returns how many.

    What the same suite holds `later` is appended: a dashboard that shows the file follows it.
    Raises FileExistsError rather than adding to a file that is there, and BadResults if a run has
    started over since.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if path.exists():
        raise FileExistsError(f"{path} exists; choose another name, or remove it")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = Journal()
    storage = optuna.storages.JournalStorage(journal)
    count = _add(stored, storage)
    with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        file = Path(folder) / path.name
        JournalFileBackend(str(file)).append_logs(journal.logs)
        os.replace(file, path)
    for grown in later:
        written = len(journal.logs)
        count = _add(grown, storage)
        JournalFileBackend(str(path)).append_logs(journal.logs[written:])
    return count


def _add(stored: Study, storage: JournalStorage) -> int:
    """Add what `storage` lacks of the runs; returns how many there are. Raises BadResults."""
    import optuna

    statuses = stored.runs.set_index(["task", "method", "seed"])["status"]
    count = 0
    for key, rows in stored.frame.groupby(["task", "method", "seed"], sort=True):
        name, label, seed = cast("tuple[str, str, int]", key)
        task = stored.task(name)
        scored = (rows["metric"] == "score").any()
        objective = "score" if scored else task.primary.name
        study = optuna.create_study(
            storage=storage,
            study_name=f"{stored.name}/{name}/{label}/{seed}",
            direction="maximize" if not scored and task.primary.higher_is_better else "minimize",
            load_if_exists=True,
        )
        facts = {
            "suite": stored.name, "task": name, "method": label, "seed": int(seed),
            "schema": SCHEMA_VERSION, "budget_gpu_hours": float(rows["budget"].iloc[0]),
            "status": str(statuses.loc[(name, label, seed)]), "objective": objective,
            "evaluator": dict(task.facts.get("evaluator") or {}),
        }  # fmt: skip
        known = study.user_attrs
        if not known:
            _name_objective(study, objective)
        for fact, value in facts.items():
            if fact not in known or known[fact] != value:
                study.set_user_attr(fact, value)
        there = study.get_trials(deepcopy=False)
        trials = list(_trials(rows, task.variables, objective))
        if [_content(trial) for trial in there] != [_content(x) for x in trials[: len(there)]]:
            raise BadResults(f"{study.study_name} has started over: export to a new file")
        study.add_trials(trials[len(there) :])
        count += 1
    return count


def _content(trial: FrozenTrial) -> tuple[Any, ...]:
    return trial.values, trial.params


class Journal:
    """A journal in memory (`optuna.storages.journal.BaseJournalBackend`): writing every trial to a
    file by itself takes twenty times as long, to a database forty times."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs += logs

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self.logs[log_number_from:])


def _name_objective(study: OptunaStudy, objective: str) -> None:
    """Name the objective, which plots would call "Objective 0"."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([objective])


def _trials(
    rows: pd.DataFrame, variables: Sequence[Variable], objective: str
) -> Iterator[FrozenTrial]:
    from optuna.trial import TrialState, create_trial

    distributions = {variable.name: _distribution(variable) for variable in variables}
    begun = START
    for _, event in rows.groupby("event", sort=True):
        values = dict(zip(event["metric"], event["value"].astype(float), strict=True))
        params = {x.name: _value(x, values[f"param:{x.name}"]) for x in variables}
        attributes = {name: event[name].iloc[0] for name in FACTS}
        attributes |= {
            name: value for name, value in values.items() if not name.startswith("param:")
        }
        value = values.get(objective, math.nan)
        known = math.isfinite(value)
        trial = create_trial(
            state=TrialState.COMPLETE if known else TrialState.PRUNED,
            value=value if known else None,
            params=params,
            distributions=dict(distributions),
            user_attrs={name: _plain(entry) for name, entry in attributes.items()},
        )
        ended = START + timedelta(hours=float(attributes["gpu_hours"]))
        trial.datetime_start, trial.datetime_complete = begun, ended
        begun = ended
        yield trial


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it; numbers that are not finite become None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _distribution(variable: Variable) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if variable.choices:
        return CategoricalDistribution(variable.choices)
    if variable.integer:
        return IntDistribution(round(variable.low), round(variable.high), log=variable.log)
    return FloatDistribution(variable.low, variable.high, log=variable.log)


def _value(variable: Variable, value: float) -> float | int | str:
    """A stored value as its distribution has it; a step in the last bit beyond a bound is none."""
    return variable.said(min(max(value, variable.low), variable.high))
