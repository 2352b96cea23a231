"""Tables in .csv and .parquet, which pandas and pyarrow read."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from models.sources import CHUNK, Table, readable
from models.split import Array, DataError

if TYPE_CHECKING:
    import pandas as pd

_PARSED = 10_000  # rows of a large CSV that say which of its columns hold numbers
_WIDTH = 2  # bytes of a CSV that are taken for one number: too few, so that none is taken for small


@final
class CSV:
    """Comma-separated values with a first line of names."""

    def __init__(self, path: Path, time: str | None) -> None:
        self.path, self.timed, self._time = path, time is not None, time
        self.size = 4 * path.stat().st_size // _WIDTH

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Those that hold numbers in the first rows."""
        return _numbers(next(self._read(None, _PARSED), None), self._time)[0]

    @cached_property
    def rows(self) -> int:
        """The number of rows, for which the whole file is read."""
        return sum(len(frame) for frame in self._read([0], CHUNK))

    def table(self) -> Table:
        """All of it in memory."""
        import pandas as pd  # noqa: PLC0415 - slow to import, and needed for these files only

        with readable(self.path):
            frame = pd.read_csv(self.path)
        return _table(frame, self._time)

    def chunks(self, names: Sequence[str]) -> Iterator[Table]:
        """The used columns, as they are parsed."""
        clock = [self._time] if self._time else []
        for frame in self._read([*names, *clock], max(1, CHUNK // (len(names) + 1))):
            yield _ordered(frame, names, self._time)

    def _read(self, names: list[Any] | None, rows: int) -> Iterator["pd.DataFrame"]:
        import pandas as pd  # noqa: PLC0415 - see above

        with (
            readable(self.path),
            pd.read_csv(self.path, usecols=names, chunksize=rows) as frames,
        ):
            yield from frames


@final
class Parquet:
    """A Parquet file, by column and by row group."""

    def __init__(self, path: Path, time: str | None) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415 - slow to import, and needed for these only

        self.path, self.timed, self._time = path, time is not None, time
        with readable(path), pq.ParquetFile(path) as file:
            self.rows: int = file.metadata.num_rows
            schema = file.schema_arrow
        self._fields = list(schema.names)
        self.size = 4 * self.rows * len(self._fields)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Those that hold numbers."""
        return _numbers(next(self._read(self._fields, _PARSED), None), self._time)[0]

    def table(self) -> Table:
        """All of it in memory."""
        import pandas as pd  # noqa: PLC0415 - see above

        with readable(self.path):
            frame = pd.read_parquet(self.path)
        return _table(frame, self._time)

    def chunks(self, names: Sequence[str]) -> Iterator[Table]:
        """The used columns, row group after row group."""
        clock = [self._time] if self._time else []
        for frame in self._read([*names, *clock], max(1, CHUNK // (len(names) + 1))):
            yield _ordered(frame, names, self._time)

    def _read(self, names: Sequence[str], rows: int) -> Iterator["pd.DataFrame"]:
        import pyarrow.parquet as pq  # noqa: PLC0415 - see above

        with readable(self.path), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(rows, columns=list(names)):
                yield batch.to_pandas()


def _table(frame: "pd.DataFrame", time: str | None) -> Table:
    columns, hours = _numbers(frame, time)
    return Table(columns, frame[list(columns)].to_numpy(np.float32), hours)


def _ordered(frame: "pd.DataFrame", names: Sequence[str], time: str | None) -> Table:
    """The named columns of one chunk; raises DataError where one of them is no number there."""
    columns, hours = _numbers(frame, time)
    if lacking := [name for name in names if name not in columns]:
        raise DataError("source", f"column {lacking[0]!r} holds text further down", "clean it")
    return Table(tuple(names), frame[list(names)].to_numpy(np.float32), hours)


def _numbers(
    frame: "pd.DataFrame | None", time: str | None
) -> tuple[tuple[str, ...], Array | None]:
    """The names of the columns of numbers, and the hours of the rows."""
    if frame is None:
        return (), None
    _refuse_other_separators(frame)
    hours = None
    if time is not None:
        if time not in frame:
            known = ", ".join(map(str, frame))
            raise DataError("time", f"no column {time!r}", f"the columns are: {known}")
        hours = hours_of(frame[time], time)
    numbers = frame.select_dtypes(["number", "bool"])
    for name in frame.columns.difference([*numbers, time], sort=False):
        _refuse_stray_words(frame[name])
    return tuple(str(name) for name in numbers if name != time), hours


def _refuse_other_separators(frame: "pd.DataFrame") -> None:
    """A table of one column whose name holds more of them was written with another comma."""
    only = str(frame.columns[0]) if len(frame.columns) == 1 else ""
    for mark in (";", "\t", "|"):
        if mark in only:
            remedy = f"save it with commas: pandas.read_csv(…, sep={mark!r}).to_csv(…, index=False)"
            raise DataError("source", f"its columns are separated by {mark!r}", remedy)


def _refuse_stray_words(column: "pd.Series[Any]") -> None:
    """A column of words is no feature; one of numbers with a few words among them is a mistake."""
    import pandas as pd  # noqa: PLC0415 - see above

    numbers = pd.to_numeric(column, errors="coerce")
    words = column[numbers.isna() & column.notna()]
    if len(words) and numbers.notna().sum() > len(words):
        problem = f"column {column.name!r} holds {words.iloc[0]!r} in row {words.index[0] + 1}"
        raise DataError("source", problem, "write numbers, and leave gaps empty")


def hours_of(dates: "pd.Series[Any]", time: str) -> Array:
    """Hours since 1970 of dates, those without a zone in UTC; raises DataError with that name."""
    import pandas as pd  # noqa: PLC0415 - see above

    stamps = pd.to_datetime(dates, errors="coerce", utc=True)
    if stamps.isna().any():
        row = int(np.argmax(stamps.isna()))
        problem = f"{time!r} holds no date in row {row + 1}: {dates.iloc[row]!r}"
        raise DataError("time", problem, "write it like 2013-01-01 05:00")
    hours: Array = ((stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(hours=1)).to_numpy()
    return hours
