"""What a tuned model must beat: simple models on exactly its windows, and by how much it does.

Every baseline is trained on the training part and scored on the test part, as the winner is.
"""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from jobs import files
from models.data import Dataset, Part, Split
from tuner.tallies import Tallies, Tally, tally

Array = NDArray[Any]

VERSION = 1  # of the methods below: a new one makes old results be computed again
METHODS = {
    "persistence": "the newest value stays",
    "ridge": "ridge regression on the flattened window",
    "gradient boosting": "scikit-learn's histogram gradient boosting on the flattened window",
    "majority class": "the most frequent class of the training part",
    "extra trees": "scikit-learn's extra trees on mean and deviation in 12 frequency bands",
}
_VALUES = 2**25  # inputs held in memory at once
_BANDS = 12


def fit(data: Dataset) -> dict[str, Tallies]:
    """Every baseline on every part that the winner is tested on, by the part's name.

    On one thread: a controller has one core, and threads that wait for each other cost more.
    """
    importlib.import_module("sklearn.ensemble")  # only loaded libraries can be limited
    with threadpool_limits(1):
        return {part: _fit_part(data, data.splits(part)[0]) for part in data.parts()}


def cached(
    path: Path, spec: Mapping[str, Any], data: Dataset, looking: Callable[[], None] = lambda: None
) -> dict[str, Tallies]:
    """`fit(data)`, kept in the file `path` until the data's `spec` or a method changes.

    `looking` is called before the test part is looked at.
    """
    document = json.dumps([VERSION, spec], sort_keys=True, default=str)
    key = hashlib.sha256(document.encode()).hexdigest()
    known = files.read(path)
    if known and known["key"] == key:
        return {part: _from_json(tallies) for part, tallies in known["parts"].items()}
    looking()
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
