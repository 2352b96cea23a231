"""`tuner.load_best`: the winner of a run, ready to predict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from jobs import files
from jobs.contract import State
from models.defaults import OURS
from models.split import Array, DataError
from tuner import confirm
from tuner.opened import opened
from tuner.space import BadInput
from tuner.study import Study
from tuner.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

    from models.serve import Forecaster

T = TypeVar("T")


@dataclass(frozen=True)
class Best:
    """The winner of a run, and one of its trained models.

    `number`, `params` (the searched ones) and `value` are the winning trial's, as `tuner.load` has
    them; `confirmed` is its mean over fresh seeds, None without any. `fixed` are the study's other
    parameters. `model` is the number of the trial whose model predicts, and `weights` its
    checkpoint. The model is loaded when it is first needed, on a GPU where there is one.
    """

    study: Study = field(repr=False)
    number: int
    value: float
    params: Mapping[str, Any]
    confirmed: float | None
    model: int
    weights: Path
    again: str = field(repr=False)  # the command that trains it once more

    @property
    def fixed(self) -> Mapping[str, Any]:
        """The parameters that every trial has."""
        return self.study.fixed

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of raw values that `predict` takes, in this order; a series' target first."""
        return tuple(self._model.columns)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of `predict_proba`; none for a series."""
        return tuple(self._model.classes)

    @property
    def window(self) -> int:
        """How many steps, or samples, the model sees."""
        return int(self._model.window)

    def predict(self, data: "pd.DataFrame | Array", time: Any = None) -> "pd.Series[Any] | Array":
        """Predictions for raw values, in the units of the data that the model learnt from.

        They are scaled as the training part was, gaps (NaN) filled and flagged, and calendar
        features made of the time, all from what the checkpoint says: no data of the study are read.

        - A DataFrame with `features` as columns (further ones are ignored), a row a step: a Series
          of float64 with its index. Of a series: in each row the forecast of the target `horizon`
          steps after it, in real units; NaN where no whole window ends in it. Its time is
          `time`, or the column that `[data] time` names, or a DatetimeIndex. Of recordings: one
          recording, whose windows are cut as in training: an array (n,) of class names.
        - An array (n, time, feature) of windows, or of recordings also one recording (sample,
          feature): an array (n,) of forecasts, or of class names. `time` (n,) is that of each
          window's newest step.

        `time` are dates, without a zone in UTC, or hours since 1970; needed for calendar features
        only. A gap at the start of a window alone counts as the training part's mean: with a frame
        the rows before fill it, as in training. Raises BadInput.
        """
        if self.classes:
            likeliest = self.predict_proba(data).argmax(1)
            names: Array = np.asarray(self.classes)[likeliest]
            return names
        return _asked(lambda: self._forecast(data, time))

    def predict_proba(self, data: "pd.DataFrame | Array") -> Array:
        """Probabilities (n, class) of recordings, which `predict` describes; raises BadInput."""
        if not self.classes:
            raise BadInput("predict_proba", "is for classes, and this is a series", "use predict")
        values = self._values(data) if _is_frame(data) else data
        return _asked(lambda: self._model.probabilities(values))

    def checkpoint(self) -> dict[str, Any]:
        """What the training function last saved: tensors and plain values, on the CPU.

        A function of one's own has its last epoch there if it saved that with `last=True`. Nothing
        is unpickled. Raises BadInput where there is no checkpoint.
        """
        from models.train import from_bytes  # noqa: PLC0415 - torch, seconds

        content = files.read_bytes(self.weights)
        if content is None:
            problem = "is not there: the training saved none, or it was removed"
            raise BadInput(str(self.weights), problem, f"train the point again: {self.again}")
        try:
            state: dict[str, Any] = from_bytes(content)["state"]
        except Exception as error:  # torn, or somebody else's pickle: torch raises what it likes
            problem = f"is no checkpoint ({type(error).__name__})"
            remedy = f"train the point again: {self.again}"
            raise BadInput(str(self.weights), problem, remedy) from None
        return state

    @cached_property
    def _model(self) -> Any:
        if self.study.train != OURS:
            problem = f"{self.study.train} is a function of your own, which alone knows its model"
            remedy = f"build it with .params and .fixed, and give it .checkpoint() ({self.weights})"
            raise BadInput("predict", problem, remedy)
        from models.serve import served  # noqa: PLC0415 - torch, seconds

        try:
            return served({**self.fixed, **self.params}, self.checkpoint())
        except DataError as error:
            remedy = f"{error.remedy} ({self.again})"
            raise BadInput(str(self.weights), error.problem, remedy) from None

    def _forecast(self, data: Any, time: Any) -> "pd.Series[Any] | Array":
        model: Forecaster = self._model
        if not _is_frame(data):
            return model.windows(data, None if time is None else _hours(time))
        import pandas as pd  # noqa: PLC0415 - a second

        if time is None:
            time = data.get(model.time)
        if time is None and isinstance(data.index, pd.DatetimeIndex):
            time = data.index
        found = model.rows(self._values(data), None if time is None else _hours(time))
        return pd.Series(found, index=data.index, name=model.columns[0])

    def _values(self, frame: Any) -> Array:
        for name in self.features:
            if name not in frame:
                known = ", ".join(self.features)
                raise BadInput(name, "is no column of the data", f"the model needs {known}")
        values: Array = frame[list(self.features)].to_numpy(np.float64, na_value=np.nan)
        return values


def load_best(run: str | Path, seed: int = 0) -> Best:
    """The winner of a run, as the report names it, at any time; packed runs too.

    With `[confirm]` it has a model a fresh seed, each of which the test part scored: `seed` says
    which of them predicts, counted from 0, so the mean of all is
    `sum(load_best(run, k).predict(x) for k in range(n)) / n`. A test score in the report is one of
    a single model. Recordings are predicted by the winner's test model, which learnt from all
    subjects of the search. Raises BadInput, Untrusted.
    """
    store = opened(run)
    study, trials = store.study, store.trials()
    won = confirm.winner(study, trials)
    if won is None or won.value is None:
        raise BadInput(str(run), "has no complete trial yet", "wait for one")
    models = confirm.models(study, trials)
    if not 0 <= seed < len(models):
        problem = f"{seed!r}: the winner has {len(models)} models"
        raise BadInput("seed", problem, f"give one of 0 … {len(models) - 1}")
    found = confirm.confirmed(study, trials)
    held = files.names(store.folder.weights)
    number = models[seed].number
    for test in _tests(trials, models[seed]):
        if store.folder.kept(test.number).name in held:
            number = test.number
    again = f"python -m tuner.steer {store.path} again {won.number}"
    mean, weights = found.mean if found else None, store.folder.kept(number)
    return Best(study, won.number, won.value, won.params, mean, number, weights, again)


def _tests(trials: list[Trial], model: Trial) -> list[Trial]:
    """The finished tests of a model, which have weights of their own if they trained anew."""
    return [
        trial for trial in trials
        if trial.part == confirm.TEST and trial.of == model.number
        and trial.state is State.COMPLETE
    ]  # fmt: skip


def _asked(predict: Callable[[], T]) -> T:
    try:
        return predict()
    except DataError as error:
        raise BadInput(error.key, error.problem, error.remedy) from None


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns")


def _hours(time: Any) -> Array:
    """Hours since 1970 of dates, or of numbers, which are."""
    import pandas as pd  # noqa: PLC0415 - a second

    from models.frames import hours_of  # noqa: PLC0415 - with pandas

    given = pd.Series(np.asarray(time) if not hasattr(time, "dtype") else time)
    if pd.api.types.is_numeric_dtype(given.dtype):
        return given.to_numpy(np.float64)
    return hours_of(given, "time")
