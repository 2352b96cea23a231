"""A run as a study of Optuna's, in any of its storages: the one home of that package."""

import datetime
from collections.abc import Sequence
from typing import Any

from jobs.contract import State
from tuner.results import searched
from tuner.space import BadInput, Categorical, Float, Parameter
from tuner.store import Store
from tuner.study import Study
from tuner.trial import Trial

try:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    remedy = ".venv/bin/pip install --constraint constraints.txt optuna"
    raise BadInput("", "an Optuna study needs Optuna", remedy) from None

_ATTRIBUTES = ("seed", "origin", "reason", "attempts", "lost_seconds", "host", "device", "job")


def write(store: Store, trials: Sequence[Trial], url: str) -> int:
    """Add the search as a new study to a storage; returns how many trials it has.

    They are numbered anew where numbers are missing between them: user attribute `number` is ours.
    Raises BadInput where there is a study of that name, or no such storage.
    """
    study, rows = store.study, searched(trials)
    ready = [_trial(study, trial) for trial in rows]  # before anything is written
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        written = optuna.create_study(storage=url, study_name=study.name, direction=study.direction)
    except optuna.exceptions.DuplicatedStudyError:
        remedy = "name another file, or delete that study"
        raise BadInput(url, f"has a study {study.name} already", remedy) from None
    except Exception as error:  # each database driver has its own
        problem = f"is no storage that can be used ({_first_line(error)})"
        raise BadInput(url, problem, "write sqlite:///pm25.db") from None
    written.set_user_attr("run", store.id)
    written.add_trials(ready)
    return len(ready)


def _trial(study: Study, trial: Trial) -> FrozenTrial:
    """The trial with its times in local time, as Optuna's own have them."""
    running = trial.state is not State.WAITING
    start = datetime.datetime.fromtimestamp(trial.started or 0.0) if running else None
    end = None
    if start and trial.state.finished:
        end = start + datetime.timedelta(seconds=trial.seconds or 0.0)
    parameters = study.space.parameters
    inside = {
        name: value for name, value in trial.params.items()
        if name in parameters and not parameters[name].problem(value)
    }  # fmt: skip
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=TrialState[trial.state.value],
        value=trial.value if trial.state in (State.COMPLETE, State.PRUNED) else None,
        datetime_start=start,
        datetime_complete=end,
        params=inside,
        distributions={name: _distribution(parameters[name]) for name in inside},
        user_attrs={
            **{f"outside_{name}": trial.params[name] for name in trial.params.keys() - inside},
            "number": trial.number,
            **{name: getattr(trial, name) for name in _ATTRIBUTES},
        },
        system_attrs={},
        intermediate_values=_reported(study, trial),
    )


def _distribution(kind: Parameter) -> BaseDistribution:
    if isinstance(kind, Categorical):
        return CategoricalDistribution(kind.choices)
    if isinstance(kind, Float):
        return FloatDistribution(kind.low, kind.high, log=kind.log, step=kind.step)
    return IntDistribution(kind.low, kind.high, log=kind.log, step=kind.step)


def _reported(study: Study, trial: Trial) -> dict[int, float]:
    """What the trial reported of the study's metric, or of the only one it reported."""
    names = {name for record in trial.curve for name in record} - {"step", "time"}
    name = study.fixed.get("metric", study.pruner.get("metric", "value"))
    name = name if name in names or len(names) != 1 else names.pop()
    found: dict[Any, Any] = {record["step"]: record.get(name) for record in trial.curve}
    return {step: value for step, value in found.items() if value is not None}


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
