"""A trained model on raw values: its checkpoint is enough, and no data set is read."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from models.bins import placed
from models.defaults import checked
from models.fold import EVALUATION_BATCH, build, forward, on_device
from models.inputs import tensor
from models.precision import mixed
from models.protocols import State
from models.recordings import spectrograms
from models.series import calendar, fill_forward
from models.split import Array, DataError
from models.train import device


@final
class Forecaster:
    """Forecasts `columns[0]`, `horizon` steps of `step` hours after the newest row that it sees.

    Raw values are in the units of the data that it learnt from, in the order of `columns`; NaN is
    a gap. `hours` are since 1970, and needed where there are `calendar` features.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, params: Mapping[str, Any], state: State) -> None:
        self._recipe = recipe = _only(state)
        self.columns = tuple(recipe["columns"])
        self.window, self.horizon = int(recipe["window"]), int(recipe["horizon"])
        self.step, self.time = float(recipe["step"]), recipe["time"]
        self.calendar = tuple(recipe["calendar"])
        self._edges = [edge.numpy() for edge in recipe["edges"]]
        bins = sum(len(edge) - 1 for edge in self._edges)
        clock = calendar(np.zeros(1), [*self.calendar])
        features = len(self.columns) + len(recipe["flags"]) + len(clock) + bins
        self._model = _Model(checked(params, "regression"), 0, (features,), state)

    def rows(self, values: Array, hours: Array | None = None) -> Array:
        """A forecast for each row of a table (row, column), in real units: (row,).

        NaN where the window that ends in the row is not whole, or has a hole in its time. A gap is
        filled with what was measured before it. Raises DataError.
        """
        raw = self._checked(values, 2)
        if hours is not None and (np.diff(hours) <= 0).any():
            raise DataError("time", "does not increase from row to row", "sort the rows")
        ready = self._ready(raw, fill_forward(raw), hours)
        found = np.full(len(raw), np.nan)
        ends = np.arange(self.window - 1, len(raw))
        if hours is not None and len(ends):
            span = hours[self.window - 1 :] - hours[: len(raw) - self.window + 1]
            ends = ends[np.abs(span - (self.window - 1) * self.step) < self.step / 2]
        if len(ends):
            views = sliding_window_view(ready, self.window, axis=0).swapaxes(1, 2)
            found[ends] = self._real(views, ends - self.window + 1)
        return found

    def windows(self, values: Array, hours: Array | None = None) -> Array:
        """A forecast for each window (n, time, column), in real units: (n,); `hours` (n,) ends it.

        A gap at a window's start, before which nothing is known, counts as the mean of the training
        part; the table's own rows before it may say more, so prefer `rows`. Raises DataError.
        """
        raw = self._checked(values, 3)
        n, time, columns = raw.shape
        if time != self.window:
            problem = f"windows have {time} steps"
            raise DataError("values", problem, f"the model sees {self.window}")
        filled = fill_forward(raw.swapaxes(0, 1).reshape(time, n * columns))
        flat = filled.reshape(time, n, columns).swapaxes(0, 1).reshape(n * time, columns)
        clock = None
        if hours is not None:
            back = np.arange(1 - time, 1) * self.step
            clock = (np.asarray(hours, np.float64)[:, None] + back).reshape(-1)
        ready = self._ready(raw.reshape(n * time, columns), flat, clock)
        return self._real(ready.reshape(n, time, ready.shape[1]), np.arange(n))

    def _ready(self, raw: Array, filled: Array, hours: Array | None) -> Array:
        """Inputs (row, feature) of raw values (row, column), as training has made its own."""
        recipe = self._recipe
        if self.calendar and hours is None:
            problem = f"is needed for the model's features {', '.join(self.calendar)}"
            raise DataError("time", problem, "give the time of each row, or of each window's end")
        scaled = np.nan_to_num((filled - recipe["mean"].numpy()) / recipe["std"].numpy())
        flags = np.isnan(raw)[:, recipe["flags"]]
        clock = calendar(hours, [*self.calendar])
        values = np.column_stack([scaled, flags, *clock]).astype(np.float32)
        return placed(values, self._edges) if self._edges else values

    def _checked(self, values: Array, dimensions: int) -> Array:
        raw = np.asarray(values, np.float32)
        if raw.ndim != dimensions or raw.shape[-1] != len(self.columns):
            problem = f"have the shape {raw.shape}"
            wanted = "(n, time, column)" if dimensions == 3 else "(row, column)"
            remedy = f"give {wanted} with the columns {', '.join(self.columns)}"
            raise DataError("values", problem, remedy)
        return raw

    def _real(self, inputs: Array, rows: Array) -> Array:
        mean, std = self._recipe["target"]
        real: Array = self._model(inputs, rows).astype(np.float64) * std + mean
        return real


@final
class Classifier:
    """Tells which of `classes` a window of raw signals (sample, column) shows."""

    def __init__(self, params: Mapping[str, Any], state: State) -> None:
        self._recipe = recipe = _only(state)
        self.columns, self.classes = tuple(recipe["columns"]), tuple(recipe["classes"])
        self.window = int(recipe["window"])
        frames = (self.window - recipe["segment"]) // recipe["hop"] + 1
        shape = (5, recipe["n_fft"] // 2 + 1, frames)
        full = checked(params, "classification")
        self._model = _Model(full, len(self.classes), shape, state)

    def probabilities(self, signals: Array) -> Array:
        """Probabilities (n, class) of windows (n, sample, column), or of a recording's windows.

        A recording (sample, column) is cut as those of the training were. Raises DataError.
        """
        raw = np.asarray(signals)
        samples = raw.shape[-2] if raw.ndim in (2, 3) else 0
        fits = samples == self.window if raw.ndim == 3 else samples >= self.window
        if not fits or raw.shape[-1] != len(self.columns):
            remedy = (
                f"give (n, {self.window}, {len(self.columns)}), or one recording of at least "
                f"{self.window} samples, with the columns {', '.join(self.columns)}"
            )
            raise DataError("values", f"have the shape {raw.shape}", remedy)
        recipe = self._recipe
        each = raw if raw.ndim == 3 else raw[None]
        if not len(each):
            return np.empty((0, len(self.classes)))
        logs = np.concatenate([spectrograms(signal, recipe) for signal in each])
        scaled = (logs - recipe["mean"].numpy()) / np.maximum(recipe["std"].numpy(), 1e-6)
        scores = self._model(scaled, np.arange(len(scaled)))
        return torch.from_numpy(scores).softmax(1).numpy()


def served(params: Mapping[str, Any], state: State) -> Forecaster | Classifier:
    """The model of a finished checkpoint of ours, as `params`, fixed ones too, describe it.

    Raises DataError where it holds several models, as the folds of a search, or says too little.
    """
    return (Classifier if "classes" in _only(state) else Forecaster)(params, state)


def _only(state: State) -> State:
    """The recipe of a state's only model."""
    recipes = state.get("recipes", ())
    if len(recipes) > 1:
        problem = f"holds {len(recipes)} models, of the search's folds"
        raise DataError("weights", problem, "use those of the winner's test")
    if not recipes or "columns" not in recipes[0]:
        problem = "does not say how its inputs were made: it is of an older version"
        raise DataError("weights", problem, "train the point once more")
    only: State = recipes[0]
    return only


@final
class _Model:
    """The network with the best epoch's weights, on the device that there is."""

    def __init__(
        self, params: Mapping[str, Any], n_classes: int, shape: tuple[int, ...], state: State
    ) -> None:
        self._device = device()
        self._mixed = mixed(params["precision"], self._device)
        model = build(params, n_classes, shape)
        (weights,) = state["best_weights"]
        model.load_state_dict(weights)
        self._net = on_device(model, self._device, pictures=n_classes > 0).eval()

    @torch.no_grad()
    def __call__(self, inputs: Array, rows: Array) -> Array:
        """Outputs for some of the inputs (n, …), in batches like those of a score."""
        if not len(rows):
            return np.empty(0, np.float32)
        found = [
            forward(
                self._net, tensor(np.ascontiguousarray(inputs[batch])).to(self._device), self._mixed
            )
            for batch in np.split(rows, range(EVALUATION_BATCH, len(rows), EVALUATION_BATCH))
        ]
        outputs: Array = torch.cat(found).cpu().numpy()
        return outputs
