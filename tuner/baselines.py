"""What a tuned model must beat: simple models on exactly its windows, and by how much it does.

Every baseline is trained on the training part and scored on the test part, as the winner is.
"""

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from jobs import files
from models.data import Dataset, Part, Split

Array = NDArray[Any]
Tallies = Mapping[str, "Tally"]  # by the name of the baseline

VERSION = 1  # of the methods below: a new one makes old results be computed again
METHODS = {
    "persistence": "the newest value stays",
    "ridge": "ridge regression on the flattened window",
    "gradient boosting": "scikit-learn's histogram gradient boosting on the flattened window",
    "majority class": "the most frequent class of the training part",
    "extra trees": "scikit-learn's extra trees on mean and deviation in 12 frequency bands",
}
WEEK = 168  # hours: weather and habits correlate errors for days, hardly for weeks
BLOCKS = 20  # a shorter test part is cut into this many blocks
RESAMPLES = 10_000
_DRAWS = 5_000_000  # the most that all resamples may hold: fewer of them for many blocks
_VALUES = 2**25  # inputs held in memory at once
_BANDS = 12


@dataclass(frozen=True, slots=True)
class Tally:
    """A forecast's errors summed over blocks: all that its scores and their intervals need.

    `blocks`, `counts` and the sums are (block,). `errors` holds "squared" and "absolute" errors
    in real units, or "correct" answers.
    """

    blocks: tuple[int, ...]
    counts: tuple[int, ...]
    errors: Mapping[str, tuple[float, ...]]

    @property
    def metrics(self) -> dict[str, float]:
        """Scores over all blocks: rmse, mse and mae in real units, or accuracy."""
        every = np.ones((1, len(self.blocks)))
        return {name: float(score[0]) for name, score in self.scores(every).items()}

    def scores(self, weights: Array) -> dict[str, Array]:
        """Scores (resample,) with every block taken as often as `weights` (resample, block)."""
        n = weights @ np.array(self.counts)
        mean = {name: weights @ np.array(sums) / n for name, sums in self.errors.items()}
        if "correct" in mean:
            return {"accuracy": mean["correct"]}
        squared = mean["squared"]
        return {"rmse": np.sqrt(squared), "mse": squared, "mae": mean["absolute"]}


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the 95 % interval of its bootstrap."""

    value: float
    low: float
    high: float


def tally(truth: Array, prediction: Array, index: Array, task: str) -> Tally:
    """Sum the errors of a forecast, all arrays (n,), over blocks of `index`.

    A block is a week of hours for regression, so that the bootstrap keeps what is correlated
    together (Künsch 1989); for classification it is a subject.
    """
    keys = _weeks(index) if task == "regression" else index
    blocks, rows = np.unique(keys, return_inverse=True)
    if task == "regression":
        miss = prediction.astype(float) - truth
        errors = {"squared": miss**2, "absolute": abs(miss)}
    else:
        errors = {"correct": (prediction == truth).astype(float)}
    sums = {name: tuple(np.bincount(rows, each).tolist()) for name, each in errors.items()}
    return Tally(tuple(blocks.tolist()), tuple(np.bincount(rows).tolist()), sums)


def interval(model: Tally, metric: str, against: Tally | None = None, seed: int = 0) -> Interval:
    """The model's score, or its score less the baseline's on the same resampled blocks.

    Raises ValueError where the two were not tested on the same windows.
    """
    if against and (model.blocks, model.counts) != (against.blocks, against.counts):
        raise ValueError("model and baseline were tested on different windows")
    n = len(model.blocks)
    size = min(RESAMPLES, max(200, _DRAWS // n))
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size)
    values = model.scores(weights)[metric]  # (resample,)
    value = model.metrics[metric]
    if against:
        values = values - against.scores(weights)[metric]
        value -= against.metrics[metric]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def standard_error(values: Array) -> float:
    """Of the mean of (n,) values; NaN for fewer than two."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def fit(data: Dataset) -> dict[str, Tallies]:
    """Every baseline on every part that the winner is tested on, by the part's name.

    On one thread: a controller has one core, and threads that wait for each other cost more.
    """
    importlib.import_module("sklearn.ensemble")  # only loaded libraries can be limited
    with threadpool_limits(1):
        return {part: _fit_part(data, data.splits(part)[0]) for part in data.parts()}


def cached(path: Path, spec: Mapping[str, Any], data: Dataset) -> dict[str, Tallies]:
    """`fit(data)`, kept in the file `path` until the data's `spec` or a method changes."""
    document = json.dumps([VERSION, spec], sort_keys=True, default=str)
    key = hashlib.sha256(document.encode()).hexdigest()
    known = files.read(path)
    if known and known["key"] == key:
        return {part: _from_json(tallies) for part, tallies in known["parts"].items()}
    parts = fit(data)
    tables = {part: {name: asdict(t) for name, t in ts.items()} for part, ts in parts.items()}
    record = {"key": key, "methods": METHODS, "parts": tables}
    files.replace(path, json.dumps(record).encode())
    return parts


def _from_json(tallies: Mapping[str, Any]) -> Tallies:
    return {
        name: Tally(
            tuple(table["blocks"]),
            tuple(table["counts"]),
            {error: tuple(sums) for error, sums in table["errors"].items()},
        )
        for name, table in tallies.items()
    }


def _weeks(index: Array) -> Array:
    span = float(index.max() - index.min()) + 1
    return (index // min(WEEK, span / BLOCKS)).astype(int)


def _fit_part(data: Dataset, split: Split) -> Tallies:
    forecasts = _regression(data, split) if data.task == "regression" else _classes(split)
    test = split.test
    assert test is not None  # `parts()` names only parts with one
    truth = test.targets * split.std + split.mean if data.task == "regression" else test.targets
    return {name: tally(truth, guess, test.index, data.task) for name, guess in forecasts.items()}


def _regression(data: Dataset, split: Split) -> dict[str, Array]:
    """Forecasts (n,) in real units."""
    # scikit-learn takes seconds to import, and most reports find everything in the cache
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - see above
    from sklearn.linear_model import Ridge  # noqa: PLC0415 - see above

    assert split.test is not None
    test = split.test
    train = _thinned(split.train)
    newest = np.concatenate([chunk.inputs[:, -1, data.target_column] for chunk in _chunks(test)])
    forecasts = {"persistence": newest}
    inputs = _flat(train)
    for name, model in {
        "ridge": Ridge(alpha=10.0),
        "gradient boosting": HistGradientBoostingRegressor(
            learning_rate=0.05, max_iter=200, early_stopping=False, random_state=0
        ),
    }.items():
        model.fit(inputs, train.targets)
        forecasts[name] = np.concatenate([model.predict(_flat(chunk)) for chunk in _chunks(test)])
    return {name: scaled * split.std + split.mean for name, scaled in forecasts.items()}


def _classes(split: Split) -> dict[str, Array]:
    """Predicted class ids (n,)."""
    from sklearn.ensemble import ExtraTreesClassifier  # noqa: PLC0415 - as in _regression

    assert split.test is not None
    train, test = split.train, split.test
    trees = ExtraTreesClassifier(n_estimators=200, random_state=0)
    trees.fit(_band_statistics(train.inputs), train.targets)
    majority = np.bincount(train.targets).argmax()
    return {
        "majority class": np.full(len(test.targets), majority),
        "extra trees": trees.predict(_band_statistics(test.inputs)),
    }


def _band_statistics(spectrograms: Array) -> Array:
    """Mean and deviation over time in frequency bands that widen upwards: (n, feature)."""
    n, _, frequencies, _ = spectrograms.shape  # (n, channel, frequency, frame)
    edges = np.unique(np.geomspace(1, frequencies, _BANDS, endpoint=False).astype(int) - 1)
    widths = np.diff(edges, append=frequencies)
    bands = (
        np.add.reduceat(spectrograms, edges, axis=2) / widths[:, None]
    )  # (n, channel, band, frame)
    return np.concatenate([bands.mean(3), bands.std(3)], axis=2).reshape(n, -1)


def _flat(part: Part) -> Array:
    return part.inputs.reshape(len(part.targets), -1)


def _thinned(part: Part) -> Part:
    """The part, or every k-th window of it where all would not fit in memory."""
    return _rows(part, slice(None, None, len(_chunks(part))))


def _chunks(part: Part) -> list[Part]:
    """The part in pieces, each of which fits in memory."""
    size = max(1, _VALUES // (part.window * part.values.shape[1]))
    return [_rows(part, slice(first, first + size)) for first in range(0, len(part.rows), size)]


def _rows(part: Part, chosen: slice) -> Part:
    rows, targets, index = part.rows[chosen], part.targets[chosen], part.index[chosen]
    return replace(part, rows=rows, targets=targets, index=index)
