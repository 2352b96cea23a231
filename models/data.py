"""Load the data of a study: shipped or the user's own, a series or recordings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models import recordings, series
from models.recordings import Recordings
from models.series import Series, Table, prototype
from models.split import Array, DataError, Dataset, Part, Split

__all__ = ["SHIPPED", "DataError", "Dataset", "Part", "Split", "load"]

_FOLDER = Path(__file__).parent / "datasets"
SHIPPED = (*sorted(path.stem for path in _FOLDER.glob("*.npz")), "prototype")


def load(spec: Mapping[str, Any]) -> Dataset:
    """Read and check what a study file's `[data]` table names; raises DataError.

    A file with an array `label` holds recordings to classify, any other a table to forecast.
    The keys are listed in `models.series.DEFAULTS` and `models.recordings.DEFAULTS`.
    """
    source = spec.get("source")
    if source == "prototype":
        _known_keys(spec, series.DEFAULTS)
        return Series(prototype(), spec)
    path = _path(source)
    arrays = _arrays(path) if path.suffix == ".npz" else {}
    if "label" in arrays:
        _known_keys(spec, recordings.DEFAULTS)
        return Recordings(arrays, spec)
    _known_keys(spec, series.DEFAULTS)
    return Series(_table(path, arrays, spec.get("time")), spec)


def _path(source: Any) -> Path:
    if not isinstance(source, str):
        raise DataError("source", "is missing", f"give a path or one of: {', '.join(SHIPPED)}")
    path = _FOLDER / f"{source}.npz" if source in SHIPPED else Path(source)
    if not path.is_file():
        remedy = f"give the path of a .npz, .csv or .parquet, or one of: {', '.join(SHIPPED)}"
        raise DataError("source", f"no file {source}", remedy)
    if path.suffix not in {".npz", ".csv", ".parquet"}:
        raise DataError("source", f"cannot read {path.name}", "use .npz, .csv or .parquet")
    return path


def _known_keys(spec: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key in spec:
        if key not in known:
            raise DataError(key, "unknown key", f"known here: {', '.join(known)}")


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, OSError, EOFError) as error:
        raise DataError("source", f"cannot read {path.name} ({error})", "save it again") from None


def _table(path: Path, arrays: dict[str, Array], time: str | None) -> Table:
    if path.suffix != ".npz":
        return _frame(path, time)
    hours = arrays.pop(time or "hours_since_epoch", None)
    if time and hours is None:
        raise DataError("time", f"no array {time!r}", f"the arrays are: {', '.join(arrays)}")
    if "values" in arrays:  # (step, column), as in the shipped files
        values = arrays["values"]
        columns = arrays.get("columns", np.arange(values.shape[-1]))
    else:  # one array a column
        columns = np.array(list(arrays))
        values = np.column_stack(list(arrays.values())) if arrays else np.empty((0, 0))
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise DataError("source", f"{path.name} holds no table", "save one 1-D array a column")
    return Table(tuple(map(str, columns)), values.astype(np.float32), hours)


def _frame(path: Path, time: str | None) -> Table:
    import pandas as pd  # noqa: PLC0415 - slow to import, and needed for these files only

    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise DataError("source", f"cannot read {path.name} ({error})", "save it again") from None
    hours = None
    if time is not None:
        if time not in frame:
            known = ", ".join(map(str, frame))
            raise DataError("time", f"no column {time!r}", f"the columns are: {known}")
        stamps = pd.to_datetime(frame.pop(time), errors="coerce", utc=True)
        if stamps.isna().any():
            raise DataError("time", f"{time!r} holds no dates", "write them like 2013-01-01 05:00")
        hours = ((stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(hours=1)).to_numpy()
    numbers = frame.select_dtypes(["number", "bool"])
    return Table(tuple(map(str, numbers)), numbers.to_numpy(np.float32), hours)
