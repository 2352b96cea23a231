"""From a study and its trials to what is shown: the table, the best trial and what tested it."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs import rungs
from jobs.contract import SEARCH, State
from tuner.confirm import loss
from tuner.known import there_at_start
from tuner.space import BadInput, Categorical, Int
from tuner.study import Study
from tuner.trial import Trial

_FORMULA = ("=", "+", "-", "@")  # what a spreadsheet takes for the start of a formula
# The dtype of a column of choices, by their types; words, and a mixture with them, are no numbers
_NUMBERS: Mapping[Any, set[type]] = {"boolean": {bool}, "Int64": {int}, "float64": {int, float}}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # a line break could start one in the middle of a cell


def searched(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of the search, by number: those that tested its winner left out."""
    return sorted((t for t in trials if t.part == SEARCH), key=lambda t: t.number)


def minimised(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """The search with every value turned so that less is better, as a surrogate wants it.

    A point that an outer program asked for, and that is not in the space, is left out.
    """
    sign = 1 if study.direction == "minimize" else -1
    inside = (t for t in searched(trials) if _is_in(study, t))
    return [t if t.value is None else replace(t, value=sign * t.value) for t in inside]


def _is_in(study: Study, trial: Trial) -> bool:
    if trial.origin in ("", study.sampler) and study.sampler != "external":
        return True  # asked of the space itself, which is dear to ask a thousand times
    try:
        study.space.check(trial.params)
    except BadInput:
        return False
    return True


def best_so_far(study: Study, rows: Sequence[Trial]) -> NDArray[Any]:
    """The best value among each trial and those before it, (trial,); NaN before the first."""
    losses = [loss(study, t) for t in rows]
    return study.sign * np.fmin.accumulate(losses)


def metric(study: Study) -> str:
    """The name of a trial's value."""
    return str(study.fixed.get("metric", "value"))


def chosen_epoch(study: Study, trial: Trial) -> Mapping[str, float]:
    """The entry of the trial's curve with its best validation metric; empty if none has it."""
    name, sign = metric(study), 1 if study.direction == "minimize" else -1
    epochs = [epoch for epoch in trial.curve if math.isfinite(epoch.get(name, math.nan))]
    return min(epochs, key=lambda epoch: sign * epoch[name], default={})


def stopped_early(study: Study, trials: Sequence[Trial], off: str | None = None) -> str:
    """What early stopping saved, in words; empty where every trial was to go to its end.

    `off` is why there was no pruner, as the controller's sign says it.
    Epochs that an attempt repeated because the one before was lost are not counted.
    """
    if off:
        return f"No trial was pruned: {off}"
    known = rungs.fixed(study.to_table())
    most, patience = known.get("epochs"), known.get("patience", 0)
    if not isinstance(most, int) or (study.pruner.get("name", "none") == "none" and not patience):
        return ""
    done = [trial for trial in searched(trials) if trial.state.finished]
    pruned = sum(trial.state is State.PRUNED for trial in done)
    trained = sum(len(trial.curve) for trial in done)
    whole = sum(len(t.curve) if t.state is State.FAIL else most for t in done)
    words = f"{pruned} of {len(done)} trials were pruned"
    return f"Stopped early: {words}; {trained} epochs were trained in place of {whole}"


def table(study: Study, trials: Sequence[Trial]) -> pd.DataFrame:
    """One row a trial of the search, by number.

    `iteration` is the trial's number, `loss` what is minimised (NaN unless the trial is
    complete), then the searched parameters in the order of the study file (empty where their
    condition does not hold), then:

    - `state`, `value` (in the study's direction; of a pruned trial its last), `reason`
    - `started` (UTC), `seconds`, `attempts`, `host`, `device`
    - `epochs_trained`, `best_epoch` (from 0)
    - `told`, `pending`: how many trials the sampler knew finished and unfinished
    - `there_at_start`: how many of the trials before it had a result when its training began

    A parameter with the name of one of our columns keeps it; ours then is called `trial_<name>`.
    """
    rows = searched(trials)
    given = {name: parameter(study, name, rows) for name in study.space.parameters}
    before = {"iteration": [t.number for t in rows], "loss": [loss(study, t) for t in rows]}
    ours = [
        {f"trial_{name}" if name in given else name: column for name, column in group.items()}
        for group in (before, _columns(study, rows, there_at_start(trials)))
    ]
    return pd.DataFrame({**ours[0], **given, **ours[1]})


def csv(frame: pd.DataFrame) -> bytes:
    """The table as CSV in which no text is a formula to a spreadsheet (OWASP, CSV injection)."""
    header = [_harmless(name) for name in frame]
    text: str = frame.map(_harmless).to_csv(index=False, header=header)
    return text.encode()


def parameter(study: Study, name: str, rows: Sequence[Trial]) -> "pd.Series[Any]":
    """A searched parameter's values, missing where its condition does not hold.

    A float is float64 and a whole one Int64. One of some choices has their dtype: category where
    they are words (a mixture counts as words), boolean, Int64 or float64.
    """
    values = [t.params.get(name) for t in rows]
    kind = study.space.parameters[name]
    if not isinstance(kind, Categorical):
        return pd.Series(values, dtype="Int64" if isinstance(kind, Int) else "float64")
    types = {type(choice) for choice in kind.choices}
    for dtype, number in _NUMBERS.items():
        if types <= number:
            return pd.Series(values, dtype=dtype)
    words = [None if value is None else str(value) for value in values]
    return pd.Series(pd.Categorical(words, categories=[*map(str, kind.choices)]))


def _columns(study: Study, rows: Sequence[Trial], there: Mapping[int, int]) -> dict[str, Any]:
    return {
        "state": [str(t.state) for t in rows],
        "value": pd.Series([t.value for t in rows], dtype="Float64"),
        "reason": [t.reason for t in rows],
        "started": pd.to_datetime(
            pd.Series([t.started for t in rows], dtype=float), unit="s", utc=True
        ),
        "seconds": pd.Series([t.seconds for t in rows], dtype="Float64"),
        "attempts": [t.attempts for t in rows],
        "host": [t.host for t in rows],
        "device": [t.device for t in rows],
        "epochs_trained": [len(t.curve) for t in rows],
        "best_epoch": pd.Series([chosen_epoch(study, t).get("step") for t in rows], dtype="Int64"),
        "told": [t.told for t in rows],
        "pending": [t.pending for t in rows],
        "there_at_start": pd.Series([there.get(t.number) for t in rows], dtype="Int64"),
    }


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    line = _CONTROL.sub(" ", cell)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line
