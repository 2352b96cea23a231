"""What has to be known of a series before its first row can be prepared: one pass in chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from models.series import fill_forward
from models.sources import Source, Table
from models.split import Array, DataError

_BORDERS = 'give two fractions of the rows, or two dates like "2013-01-01"'


@dataclass(frozen=True, slots=True)
class Survey:
    """`cuts` are the first rows of validation and test; `mean` and `std` the training rows'.

    `flags` name for each pattern of gaps a column that shows it. `windows` are how many there are
    in each part.
    """

    rows: int
    cuts: tuple[int, int]
    mean: Array
    std: Array
    flags: tuple[int, ...]
    windows: tuple[int, int, int]


@final
class Rows:
    """The chunks of a series in order, with what they need to know of the rows before them.

    The time from row to row is the median of the first chunk's.
    """

    def __init__(self, source: Source, names: Sequence[str], reach: int) -> None:
        self._source, self._names, self._reach = source, names, reach
        self.step = float("nan")

    def __iter__(self) -> Iterator["Chunk"]:
        first, newest = 0, None
        past: Array = np.empty(0)
        for table in self._source.chunks(self._names):
            hours = np.arange(first, first + len(table.values))
            hours = hours if table.hours is None else table.hours
            _check_time(past, hours)
            if not first:
                self.step = float(np.median(np.diff(hours))) if len(hours) > 1 else 1.0
            chunk = Chunk(
                first, table, hours, _filled(table.values, newest), self._ends(past, hours)
            )
            past = np.concatenate([past, hours])[-self._reach :] if first else hours[-self._reach :]
            first, newest = first + len(hours), chunk.filled[-1:]
            yield chunk

    def _ends(self, past: Array, hours: Array) -> Array:
        """Rows of the chunk (in it from 0) with a whole, evenly spaced window before them."""
        known = np.concatenate([past, hours]) if len(past) else hours
        span = known[self._reach :] - known[: -self._reach]
        whole = np.abs(span - self._reach * self.step) < self.step / 2
        ends: Array = np.flatnonzero(whole) + self._reach - len(past)
        return ends


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a table from row `first` on, with their gaps filled; `ends` end windows."""

    first: int
    table: Table
    hours: Array
    filled: Array
    ends: Array

    @property
    def targets(self) -> Array:
        """The rows of the chunk, in it from 0, that end a window and have a measured target."""
        found: Array = self.ends[~np.isnan(self.table.values[self.ends, 0])]
        return found


def survey(rows: Rows, source: Source, names: Sequence[str], borders: Sequence[Any]) -> Survey:
    """Read a series once; raises DataError for each fault that `Series` would find."""
    cut = _Cut(source, borders)
    moments, gaps = _Moments(len(names)), _Gaps(len(names))
    windows = np.zeros(3, int)
    end = 0
    for chunk in rows:
        cut.see(chunk)
        moments.add(chunk.filled[: max(0, cut.rows[0] - chunk.first)])
        gaps.add(np.isnan(chunk.table.values))
        part = np.searchsorted(cut.rows, chunk.first + chunk.targets, side="right")
        windows += np.bincount(part, minlength=3)
        end = chunk.first + len(chunk.hours)
    cut.check(end)
    moments.check(names)
    if not windows.all():
        raise DataError("borders", "a part has no window with a target", "move the borders")
    first, second = cut.rows
    found = (int(windows[0]), int(windows[1]), int(windows[2]))
    return Survey(end, (first, second), moments.mean, moments.std, gaps.flags, found)


@final
class _Cut:
    """The rows at which validation and test begin, as far as the rows seen so far tell."""

    def __init__(self, source: Source, borders: Sequence[Any]) -> None:
        try:
            one, two = borders
            self._dates = [_date(border) for border in (one, two)]
            lengths = [0 if isinstance(b, str) else int(source.rows * b) for b in (one, two)]
        except (ValueError, TypeError):
            raise DataError("borders", f"cannot read {borders!r}", _BORDERS) from None
        self._borders, self.rows = borders, lengths

    def see(self, chunk: "Chunk") -> None:
        """Count the rows before each date."""
        for place, date in enumerate(self._dates):
            if date is not None:
                self.rows[place] += int(np.searchsorted(chunk.hours, date))

    def check(self, end: int) -> None:
        """Raise DataError where a part is empty."""
        if not 0 < self.rows[0] < self.rows[1] < end:
            problem = f"{self._borders!r} leave a part empty"
            raise DataError("borders", problem, "move them into the data")


@final
class _Moments:
    """Mean and deviation of each column, NaN left out, merged chunk by chunk (Chan et al. 1979)."""

    def __init__(self, columns: int) -> None:
        self._n, self.mean, self._squares = (np.zeros(columns) for _ in range(3))

    def add(self, values: Array) -> None:
        """Some more rows (row, column)."""
        n = len(values) - np.isnan(values).sum(0)
        if not n.any():
            return
        total = np.maximum(self._n + n, 1)
        mean = np.nansum(values, axis=0, dtype=np.float64) / np.maximum(n, 1)
        squares = np.nansum((values - mean.astype(np.float32)) ** 2, axis=0, dtype=np.float64)
        apart = np.where(n, mean - self.mean, 0)
        self._squares += squares + apart**2 * self._n * n / total
        self.mean = self.mean + apart * n / total
        self._n = self._n + n

    @property
    def std(self) -> Array:
        """The deviation, 1 where a column does not change."""
        std = np.sqrt(self._squares / np.maximum(self._n, 1))
        std[std == 0] = 1
        return std

    def check(self, names: Sequence[str]) -> None:
        """Raise DataError where a column has no value at all."""
        for place in np.flatnonzero(self._n == 0).tolist():
            key = "features" if place else "target"
            problem = f"{names[place]!r} is empty before the first border"
            raise DataError(key, problem, "leave it out")


@final
class _Gaps:
    """Which columns are missing together: as in `series`, a flag for each pattern of gaps."""

    def __init__(self, columns: int) -> None:
        self._rank = np.zeros(columns, int)  # of its pattern so far, as numpy.unique sorts them
        self._any = np.zeros(columns, bool)

    def add(self, gaps: Array) -> None:
        """The gaps (row, column) of some more rows."""
        if not gaps.any():
            return
        _, rank = np.unique(gaps, axis=1, return_inverse=True)
        both = self._rank * (len(self._rank) + 1) + rank.reshape(-1)
        _, self._rank = np.unique(both, return_inverse=True)
        self._any |= gaps.any(axis=0)

    @property
    def flags(self) -> tuple[int, ...]:
        """A column for each pattern."""
        ranks = {int(self._rank[column]): int(column) for column in np.flatnonzero(self._any)}
        return tuple(ranks[rank] for rank in sorted(ranks))


def _filled(values: Array, newest: Array | None) -> Array:
    """The rows with their gaps filled forward; `newest` is the row before them, filled."""
    if not np.isnan(values).any():
        return values
    if newest is None:
        return fill_forward(values)
    return fill_forward(np.concatenate([newest, values]))[1:]


def _check_time(past: Array, hours: Array) -> None:
    known = np.concatenate([past[-1:], hours]) if len(past) else hours
    if (np.diff(known) <= 0).any():
        raise DataError("time", "does not increase from row to row", "sort the rows, drop doubles")


def _date(border: Any) -> float | None:
    """The hour of a date; None for a fraction."""
    return float(np.datetime64(border, "h").astype(int)) if isinstance(border, str) else None
