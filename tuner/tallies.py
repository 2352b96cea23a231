"""Errors summed over blocks of time or groups, and the bootstrap intervals of what they come to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tallies = Mapping[str, "Tally"]  # by the name of the baseline

WEEK = 168  # hours: weather and habits correlate errors for days, hardly for weeks
BLOCKS = 20  # a shorter test part is cut into this many blocks
RESAMPLES = 10_000
_DRAWS = 5_000_000  # the most that all resamples may hold: fewer of them for many blocks


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

    @property
    def windows(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The blocks, and how many windows each holds: what can be compared with it."""
        return self.blocks, self.counts

    def scores(self, weights: Array) -> dict[str, Array]:
        """Scores (resample,) with every block taken as often as `weights` (resample, block)."""
        n = weights @ np.array(self.counts)
        mean = {name: weights @ np.array(sums) / n for name, sums in self.errors.items()}
        if "correct" in mean:
            return {"accuracy": mean["correct"]}
        squared = mean["squared"]
        return {"rmse": np.sqrt(squared), "mse": squared, "mae": mean["absolute"]}


@dataclass(frozen=True, slots=True)
class Mean:
    """Forecasts of the same windows by models of several seeds: a score is the mean of theirs.

    So it is what one training is expected to reach; errors pooled before the root would be more.
    """

    each: tuple[Tally, ...]

    @property
    def windows(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """As of each of them."""
        return self.each[0].windows

    def scores(self, weights: Array) -> dict[str, Array]:
        """Mean scores (resample,), every forecast on the same resampled blocks."""
        found = [one.scores(weights) for one in self.each]
        return {name: np.mean([scores[name] for scores in found], axis=0) for name in found[0]}


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


def interval(
    model: Tally | Mean, metric: str, against: Tally | None = None, seed: int = 0
) -> Interval:
    """The model's score, or its score less the baseline's on the same resampled blocks.

    Raises ValueError where the two were not tested on the same windows.
    """
    if against and model.windows != against.windows:
        raise ValueError("model and baseline were tested on different windows")
    n = len(model.windows[0])
    size = min(RESAMPLES, max(200, _DRAWS // n))
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size)
    values = model.scores(weights)[metric]  # (resample,)
    value = float(model.scores(np.ones((1, n)))[metric][0])
    if against:
        values = values - against.scores(weights)[metric]
        value -= against.metrics[metric]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def standard_error(values: Array) -> float:
    """Of the mean of (n,) values; NaN for fewer than two."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _weeks(index: Array) -> Array:
    span = float(index.max() - index.min()) + 1
    return (index // min(WEEK, span / BLOCKS)).astype(int)
