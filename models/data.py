"""Load the data of a study: shipped or the user's own, a series or recordings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models import recordings, series
from models.frames import CSV, Parquet
from models.large import LargeSeries
from models.protocols import Scratch
from models.recordings import Recordings
from models.series import Series, prototype
from models.sources import Arrays, Source, Stored, members, readable
from models.split import Array, DataError, Dataset, Part, Split

__all__ = ["SHIPPED", "DataError", "Dataset", "Part", "Split", "load"]

_FOLDER = Path(__file__).parent / "datasets"
LARGE = (
    2**27
)  # bytes of float32: up to here all is held in memory, in a worker about ten times that
SHIPPED = (*sorted(path.stem for path in _FOLDER.glob("*.npz")), "prototype")


def load(spec: Mapping[str, Any], scratch: Scratch | None = None) -> Dataset:
    """Read and check what a study file's `[data]` table names; raises DataError.

    A file with an array `label` holds recordings to classify, any other a table to forecast.
    The keys are listed in `models.series.DEFAULTS` and `models.recordings.DEFAULTS`. A table of
    more than `LARGE` bytes is not held in memory; `scratch` is where it is prepared for training,
    and without one it is checked only.
    """
    source = spec.get("source")
    if source == "prototype":
        _known_keys(spec, series.DEFAULTS)
        return Series(prototype(), spec)
    path = _path(source)
    if path.suffix == ".npz" and _recorded(members(path)):
        _known_keys(spec, recordings.DEFAULTS)
        return Recordings(_arrays(path), spec)
    _known_keys(spec, series.DEFAULTS)
    table = _source(path, spec.get("time"))
    return LargeSeries(table, spec, scratch) if table.size > LARGE else Series(table.table(), spec)


def _recorded(found: Mapping[str, Stored]) -> bool:
    """Whether a file holds recordings and a label of each; tables may have a column `label`."""
    values = found.get("values")
    return "label" in found and ("counts" in found or bool(values and len(values.shape) == 3))


def _source(path: Path, time: str | None) -> Source:
    if path.suffix in {".npz", ".npy"}:
        return Arrays(path, time)
    return CSV(path, time) if path.suffix == ".csv" else Parquet(path, time)


def _path(source: Any) -> Path:
    if not isinstance(source, str):
        raise DataError("source", "is missing", f"give a path or one of: {', '.join(SHIPPED)}")
    path = _FOLDER / f"{source}.npz" if source in SHIPPED else Path(source)
    if not path.is_file():
        remedy = f"give the path of a .npz, .npy, .csv or .parquet, or one of: {', '.join(SHIPPED)}"
        raise DataError("source", f"no file {source}", remedy)
    if path.suffix not in {".npz", ".npy", ".csv", ".parquet"}:
        raise DataError("source", f"cannot read {path.name}", "use .npz, .npy, .csv or .parquet")
    return path


def _known_keys(spec: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key in spec:
        if key not in known:
            raise DataError(key, "unknown key", f"known here: {', '.join(known)}")


def _arrays(path: Path) -> dict[str, Array]:
    with readable(path), np.load(path, allow_pickle=False) as file:
        return dict(file)
