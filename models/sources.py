"""Tables in files: whole, or by used columns and in chunks; those of .npz and .npy."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, final

import numpy as np

from models.split import Array, DataError

CHUNK = 2**22  # values in one chunk: 16 MB of float32
_HOURS = "hours_since_epoch"  # the time of an .npz that names no other
_NUMBERS = "biuf"  # numpy's letters; a column of anything else is left out
_FIRST = 100  # words that say whether a column of them holds numbers
Places = dict[str, tuple[str, int | str | None]]  # a column's array, and its place or field there


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns, `values` (step, column) with NaN where nothing was measured.

    `hours` (step,) are since 1970, or None where the table has no time.
    """

    columns: tuple[str, ...]
    values: Array
    hours: Array | None


class Source(Protocol):
    """A table in a file, of which only the names and the length are known yet."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of numbers, time left out."""
        ...

    @property
    def timed(self) -> bool:
        """Whether there is a column of time."""
        ...

    @property
    def rows(self) -> int:
        """The number of rows; for a CSV that means to read it."""
        ...

    @property
    def size(self) -> int:
        """About how many bytes the values of all columns take as float32."""
        ...

    def table(self) -> Table:
        """All of it in memory."""
        ...

    def chunks(self, names: Sequence[str]) -> Iterator[Table]:
        """Some columns, in chunks of rows from the first to the last."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """An array in an .npy, or the `member` of an .npz: read from its beginning, compressed or not.

    A stream needs neither its size in memory nor an address for it, as a map would.
    """

    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_column: bool  # Fortran's order

    @classmethod
    def at(cls, path: Path, member: str = "") -> "Stored":
        """The array as its header describes it; raises DataError where it has none."""
        with _opened(path, member) as file:
            shape, by_column, dtype = _header(file)
        return cls(path, member, shape, dtype, by_column and len(shape) > 1)

    def whole(self) -> Array:
        """All of it in memory."""
        self._refuse_objects()
        with _opened(self.path, self.member) as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
        return array

    def chunks(self, rows: int) -> Iterator[Array]:
        """So many entries of the first axis at a time."""
        self._refuse_objects()
        if self.by_column:
            remedy = "save it row by row: numpy.ascontiguousarray"
            raise DataError("source", f"{self.path.name} is stored column by column", remedy)
        with _opened(self.path, self.member) as file:
            _header(file)
            for first in range(0, self.shape[0], rows):
                shape = (min(rows, self.shape[0] - first), *self.shape[1:])
                size = int(np.prod(shape)) * self.dtype.itemsize
                content = file.read(size)
                if len(content) != size:
                    raise DataError("source", f"{self.path.name} is cut off", "copy it again")
                yield np.frombuffer(content, self.dtype).reshape(shape)

    def _refuse_objects(self) -> None:
        if self.dtype.hasobject:
            name = self.member.removesuffix(".npy") or self.path.name
            raise DataError("source", f"{name} holds Python objects", "save plain numbers")


@final
class Arrays:
    """The table of an .npz (`values` and `columns`, or one array a column) or of an .npy.

    Columns of words, and of dates that are not its time, are left out, as from a CSV.

    An .npy is a table whose columns are numbered from "0", or a structured array.
    """

    def __init__(self, path: Path, time: str | None) -> None:
        found = members(path)
        self._time = time or _HOURS
        if "values" in found and len(found["values"].shape) == 2:  # the rest is not the table's
            used = [name for name in ("values", self._time) if name in found]
            self._arrays = {name: found[name] for name in used}
            places = _packed(self._arrays, found.get("columns"))
        else:
            self._arrays, places = found, _flat(found)
        lengths = {array.shape[0] for array in self._arrays.values() if array.shape}
        if not places or len(lengths) != 1:
            raise DataError("source", f"{path.name} holds no table", "save one 1-D array a column")
        self._places = places
        if time and time not in self._places:
            known = ", ".join(self._places)
            raise DataError("time", f"no array {time!r}", f"the arrays are: {known}")
        self.timed = self._time in self._places
        if self.timed and self._dtype(self._time).kind not in _NUMBERS + "M":
            kind = self._dtype(self._time).name
            raise DataError("time", f"{self._time!r} holds {kind}", "save datetime64, or hours")
        self.columns = tuple(
            name for name in places if name != self._time and self._holds_numbers(name)
        )
        if not self.columns:
            raise DataError("source", f"{path.name} has no column of numbers", "save some")
        self.rows = lengths.pop()
        self.size = 4 * self.rows * len(self.columns)

    def table(self) -> Table:
        """All of it in memory."""
        arrays = {name: array.whole() for name, array in self._used(self.columns).items()}
        return self._table(arrays, self.columns)

    def chunks(self, names: Sequence[str]) -> Iterator[Table]:
        """The arrays that are needed, read side by side."""
        used = self._used(names)
        widest = sum(int(np.prod(array.shape[1:])) for array in used.values())
        rows = max(1, CHUNK // max(1, widest))
        streams = [array.chunks(rows) for array in used.values()]
        for pieces in zip(*streams, strict=True):
            yield self._table(dict(zip(used, pieces, strict=True)), names)

    def _used(self, names: Sequence[str]) -> dict[str, Stored]:
        """The arrays that hold these columns, and the time."""
        needed = [*names, *([self._time] if self.timed else [])]
        return {array: self._arrays[array] for array, _ in map(self._places.__getitem__, needed)}

    def _dtype(self, name: str) -> np.dtype[Any]:
        array, key = self._places[name]
        dtype = self._arrays[array].dtype
        return dtype[key] if isinstance(key, str) else dtype

    def _holds_numbers(self, name: str) -> bool:
        """Whether a column does, by its type; or as words, by the first of them."""
        kind, array = self._dtype(name).kind, self._places[name][0]
        if kind not in "US":
            return kind in _NUMBERS
        try:
            _numbers(self._column({array: next(self._arrays[array].chunks(_FIRST))}, name))
        except (ValueError, StopIteration):  # a word, or no row at all
            return False
        return True

    def _table(self, arrays: Mapping[str, Array], names: Sequence[str]) -> Table:
        places = [self._places[name] for name in names]
        if places and isinstance(places[0][1], int):  # all in one array (step, column)
            picked = [int(key or 0) for _, key in places]
            packed = arrays["values"]
            values = packed if picked == [*range(packed.shape[1])] else packed[:, picked]
        else:
            values = np.column_stack([self._column(arrays, name) for name in names])
        hours = _hours(self._column(arrays, self._time)) if self.timed else None
        try:
            return Table(tuple(names), _numbers(values), hours)
        except ValueError as error:  # words further down in a column that began with numbers
            raise DataError("source", f"{error}", "clean it") from None

    def _column(self, arrays: Mapping[str, Array], name: str) -> Array:
        array, key = self._places[name]
        if key is None:
            return arrays[array]
        column: Array = arrays[array][:, key] if isinstance(key, int) else arrays[array][key]
        return column


def _numbers(values: Array) -> Array:
    """As float32; raises ValueError for words that are none."""
    return values.astype(np.float32)


def members(path: Path) -> dict[str, Stored]:
    """The arrays of an .npz by name, or that of an .npy as "values"; raises DataError."""
    if path.suffix == ".npy":
        return {"values": Stored.at(path)}
    with readable(path), zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if name.endswith(".npy")]
    return {name.removesuffix(".npy"): Stored.at(path, name) for name in names}


def _flat(arrays: Mapping[str, Stored]) -> Places | None:
    """One array a column, or the fields of one structured array; None where that is no table."""
    if any(len(array.shape) != 1 for array in arrays.values()):
        return None
    fields = arrays["values"].dtype.names if "values" in arrays else None
    return {name: ("values", name) for name in fields} if fields else {n: (n, None) for n in arrays}


def _packed(arrays: Mapping[str, Stored], names: Stored | None) -> Places | None:
    """The columns of one array (step, column), and the time beside it; None if they do not fit."""
    values, *beside = arrays.values()
    known = range(values.shape[1]) if names is None else names.whole()
    if len(known) != values.shape[1] or any(len(array.shape) != 1 for array in beside):
        return None
    found: Places = {str(name): ("values", place) for place, name in enumerate(known)}
    return found | {name: (name, None) for name in arrays if name != "values"}


def _hours(clock: Array) -> Array:
    """Hours since 1970 of numbers, which are, or of dates."""
    if clock.dtype.kind != "M":
        return clock
    return clock.astype("datetime64[s]").astype(np.int64) / 3600


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether by column, and type; `file` then stands at the first value."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    shape, by_column, dtype = (
        read(file) if version == (1, 0) else np.lib.format.read_array_header_2_0(file)
    )
    return shape, by_column, dtype


@contextmanager
def _opened(path: Path, member: str) -> Iterator[IO[bytes]]:
    with readable(path), ExitStack() as stack:
        if not member:
            yield stack.enter_context(path.open("rb"))
        else:
            archive = stack.enter_context(zipfile.ZipFile(path))
            yield stack.enter_context(archive.open(member, "r"))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What a file's reader complains of, as DataError."""
    try:
        yield
    except DataError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError("source", f"cannot read {path.name} ({error})", "save it again") from None
