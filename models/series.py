"""Series: forecast one column of a table some steps ahead from a window of all its columns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, final

import numpy as np

from models.sources import Table
from models.split import Array, DataError, Part, Split

DEFAULTS: Mapping[str, Any] = {
    "source": None,  # a shipped name, or a path to .npz, .npy, .csv or .parquet
    "target": None,  # the column to forecast
    "window": None,  # steps that the model sees
    "horizon": 1,  # steps from the newest input to the target
    "features": None,  # columns to use besides the target, all when not given
    "time": None,  # the column that holds the time; .npz, .npy: hours since 1970
    "calendar": [],  # features made from the time: "hour", "weekday", "weekend", "year"
    "borders": [0.7, 0.8],  # first validation and test target: fractions of the rows, or dates
}

TAU = 2 * np.pi
CALENDAR: Mapping[str, Callable[[Array], tuple[Array, ...]]] = {  # hours since 1970 → features
    "hour": lambda hours: _circle(hours / 24),
    "weekday": lambda hours: _circle(hours / 168),
    "weekend": lambda hours: ((hours // 24 + 3) % 7 >= 5,),  # 1970 began on a Thursday
    "year": lambda hours: _circle(hours / 8766),
}


def prototype(seed: int = 0, steps: int = 2000) -> Table:
    """The prototype's regression task: ten mixed waves, and a target with noise of variance 0.04.

    A forecast cannot get below a mean squared error of 0.04; persistence is far above it.
    """
    random = np.random.default_rng(seed)
    periods = random.uniform(8, 64, 9)
    phases = np.arange(steps)[:, None] / periods + random.uniform(0, 1, 9)  # (step, wave)
    waves = np.sin(TAU * phases)
    target = waves[:, 0] * waves[:, 1] + waves[:, 2:5].mean(1) + random.normal(0, 0.2, steps)
    noisy = waves + random.normal(0, 0.1, waves.shape)
    columns = ("target", *(f"wave{number}" for number in range(9)))
    return Table(columns, np.column_stack([target, noisy]).astype(np.float32), None)


class ByTime:
    """What every series has in common: one split by the time of the target."""

    task: Literal["regression"] = "regression"
    n_classes = 0
    target_column = 0

    def parts(self) -> tuple[str, ...]:
        """One: the test of the search's own winner."""
        return ("test",)

    def resumes_search(self, part: str) -> bool:
        """Whether `part` trains on the search's split, which "test" does."""
        return part == "test"


def known_part(part: str) -> None:
    """Raise DataError for a part that a series has not."""
    if part not in {"search", "test"}:
        raise DataError("part", f"a series has no {part!r}", "use search or test")


@final
class Series(ByTime):
    """Windows of one table, split by the time of the target; raises DataError.

    Inputs may reach back over a border, targets never cross one. Rows whose target was not
    measured, and windows with a hole in their time, are left out.
    """

    def __init__(self, table: Table, spec: Mapping[str, Any]) -> None:
        spec = {**DEFAULTS, **spec}
        self.window, self.horizon = positive(spec, "window"), positive(spec, "horizon")
        self.hours = _hours(table)
        self.columns = columns_used(table.columns, spec)
        measured = table.values[:, [table.columns.index(name) for name in self.columns]]
        self.target = measured[:, 0]
        self.flags = _flags(np.isnan(measured))
        self.spec = spec
        self.features = np.column_stack(
            [np.isnan(measured)[:, self.flags], *calendar(table.hours, spec["calendar"])]
        )
        self.measured = fill_forward(measured)
        self.validation_from, self.test_from = _borders(self.hours, spec["borders"])
        self.ends = self._usable()
        self.splits("test")  # every fault of the data shows here, not hours later in a worker

    def splits(self, part: str) -> tuple[Split, ...]:
        """The one split by time; its test part is there only when `part` is "test"."""
        known_part(part)
        known = self.measured[self.hours < self.validation_from]
        for column, name in enumerate(self.columns):
            if np.isnan(known[:, column]).all():
                key = "features" if column else "target"
                raise DataError(key, f"{name!r} is empty before the first border", "leave it out")
        mean, std = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
        std[std == 0] = 1
        scaled = np.nan_to_num((self.measured - mean) / std)  # before the first value: the mean
        values = np.column_stack([scaled, self.features]).astype(np.float32)  # (step, feature)
        target = ((self.target - mean[0]) / std[0]).astype(np.float32)
        if part == "search":
            values = values[self.hours < self.test_from]
        train = self._part(values, target, -np.inf, self.validation_from)
        validation = self._part(values, target, self.validation_from, self.test_from)
        test = self._part(values, target, self.test_from, np.inf) if part == "test" else None
        scale = {"mean": mean, "std": std, "flags": self.flags}
        made = recipe(self.columns, self.spec, step=_step(self.hours), **scale)
        return (Split(train, validation, test, float(mean[0]), float(std[0]), made),)

    def _part(self, values: Array, target: Array, low: float, high: float) -> Part:
        hours = self.hours[self.ends]
        ends = self.ends[(hours >= low) & (hours < high)]
        if not len(ends):
            raise DataError("borders", "a part has no window with a target", "move the borders")
        starts = ends - self.horizon - self.window + 1
        return Part(values, self.window, starts, target[ends], self.hours[ends])

    def _usable(self) -> Array:
        """Rows of measured targets with a whole, evenly spaced window before them."""
        reach = self.window + self.horizon - 1
        if reach >= len(self.hours):
            rows = len(self.hours)
            raise DataError("window", f"longer than the data of {rows} rows", "shorten it")
        span = self.hours[reach:] - self.hours[:-reach]
        step = _step(self.hours)
        whole = np.abs(span - reach * step) < step / 2  # fractions of an hour are not exact
        ends = np.flatnonzero(whole & ~np.isnan(self.target[reach:])) + reach
        if not len(ends):
            raise DataError("target", "no window ends in a measured target", "fill its gaps")
        return ends


def fill_forward(values: Array) -> Array:
    """Each gap takes the last value measured before it; a gap at the start stays NaN.

    `values` is (step, column). Interpolation would read the future.
    """
    newest = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    filled: Array = np.take_along_axis(values, np.maximum.accumulate(newest, axis=0), axis=0)
    return filled


def recipe(
    columns: Sequence[str],
    spec: Mapping[str, Any],
    *,
    step: float,
    mean: Array,
    std: Array,
    flags: Sequence[int],
) -> dict[str, Any]:
    """How raw `columns`, the target first, `step` hours apart, become inputs: see `Split`."""
    keys = ("window", "horizon", "calendar", "time")
    scale = {"mean": np.asarray(mean, np.float32), "std": np.asarray(std, np.float32)}
    given = {key: spec[key] for key in keys}
    return {"columns": [*columns], **given, "step": float(step), **scale, "flags": [*flags]}


def _step(hours: Array) -> float:
    """Hours from row to row."""
    return float(np.median(np.diff(hours)))


def _flags(gaps: Array) -> list[int]:
    """A column for each pattern in which columns are missing together; `gaps` (step, column)."""
    some = np.flatnonzero(gaps.any(axis=0))
    _, first = np.unique(gaps[:, some], axis=1, return_index=True)
    return [int(column) for column in some[first]]


def _circle(turns: Array) -> tuple[Array, ...]:
    return np.sin(TAU * turns), np.cos(TAU * turns)


def calendar(hours: Array | None, names: list[str]) -> list[Array]:
    """Features made from the time of some rows; raises DataError."""
    if names and hours is None:
        raise DataError("calendar", "the table has no time", "name its column with time")
    if unknown := set(names) - set(CALENDAR):
        raise DataError("calendar", f"unknown {sorted(unknown)}", f"known: {', '.join(CALENDAR)}")
    return [feature for name in names for feature in CALENDAR[name](np.asarray(hours))]


def columns_used(known: Sequence[str], spec: Mapping[str, Any]) -> list[str]:
    """The columns to use, the target first; raises DataError."""
    target, features = spec["target"], spec["features"]
    named = {"target": [target], "features": known if features is None else features}
    for key, names in named.items():
        for name in names:
            if name not in known:
                raise DataError(key, f"no column {name!r}", f"the columns are: {', '.join(known)}")
    return [target, *(name for name in named["features"] if name != target)]


def _hours(table: Table) -> Array:
    """The time of each row, row numbers where there is none; raises DataError if it goes back."""
    hours = np.arange(len(table.values)) if table.hours is None else table.hours
    if (np.diff(hours) <= 0).any():
        raise DataError("time", "does not increase from row to row", "sort the rows, drop doubles")
    return hours


def positive(spec: Mapping[str, Any], key: str) -> int:
    """A number of steps; raises DataError."""
    number = spec[key]
    if type(number) is not int or number < 1:
        raise DataError(key, f"{number!r} is not a number of steps", "give a whole number from 1")
    return number


def _borders(hours: Array, borders: list[Any]) -> tuple[float, float]:
    """Hours of the first validation and the first test target."""
    try:
        first, second = (
            float(np.datetime64(border, "h").astype(int))
            if isinstance(border, str)
            else float(hours[int(len(hours) * border)])
            for border in borders
        )
    except (ValueError, TypeError, IndexError):
        remedy = 'give two fractions of the rows, or two dates like "2013-01-01"'
        raise DataError("borders", f"cannot read {borders!r}", remedy) from None
    if not hours[0] < first < second <= hours[-1]:
        raise DataError("borders", f"{borders!r} leave a part empty", "move them into the data")
    return first, second
