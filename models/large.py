"""A series that is larger than memory: prepared once, in chunks, and mapped from then on."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np

from models.protocols import Scratch
from models.series import (
    DEFAULTS,
    ByTime,
    calendar,
    columns_used,
    known_part,
    positive,
    recipe,
)
from models.sources import Source
from models.split import Array, Part, Split
from models.survey import Rows, Survey, survey

_VERSION = 2  # of what is prepared: another one is prepared anew
_ARRAYS = {"values": np.float32, "rows": np.int64, "targets": np.float32, "index": np.float64}
_surveys: dict[str, Survey] = {}  # the newest: a controller loads its data twice


@final
class LargeSeries(ByTime):
    """What `Series` is, with arrays that are maps of prepared files; raises DataError.

    They are the same windows, scaled with sums of double precision; an hour is a float. Without a
    `scratch` all is checked and nothing prepared: then there are no splits.
    """

    def __init__(self, source: Source, spec: Mapping[str, Any], scratch: Scratch | None) -> None:
        spec = {**DEFAULTS, **spec}
        self._source, self._spec = source, spec
        self.window, horizon = positive(spec, "window"), positive(spec, "horizon")
        self._reach = self.window + horizon - 1
        self.columns = columns_used(source.columns, spec)
        calendar(np.zeros(1) if source.timed else None, spec["calendar"])  # its faults show here
        self._folder = scratch(self._name(), self._pieces) if scratch else None
        if not scratch:
            self._survey()

    def splits(self, part: str) -> tuple[Split, ...]:
        """The one split by time; its test part is there only when `part` is "test"."""
        known_part(part)
        assert self._folder, "data without a scratch are only checked"
        facts = json.loads((self._folder / "facts.json").read_bytes())
        arrays = {name: _mapped(self._folder / name, kind) for name, kind in _ARRAYS.items()}
        values = arrays["values"].reshape(facts["rows"], -1)  # (step, feature)
        if part == "search":
            values = values[: facts["cuts"][1]]
        ends = np.cumsum([0, *facts["windows"]])
        train, validation, test = (
            Part(values, self.window, *(arrays[name][low:high] for name in [*_ARRAYS][1:]))
            for low, high in pairwise(ends)
        )
        mean, std = (np.asarray(facts[name], np.float32) for name in ("mean", "std"))
        scale = {"mean": mean, "std": std, "flags": facts["flags"]}
        made = recipe(self.columns, self._spec, step=facts["step"], **scale)
        tested = test if part == "test" else None
        return (Split(train, validation, tested, float(mean[0]), float(std[0]), made),)

    def _name(self) -> str:
        """What is prepared, as a name: another file or other keys have another one."""
        info = Path(self._spec["source"]).stat()
        facts = [_VERSION, self._spec, info.st_size, info.st_mtime_ns]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def _survey(self) -> Survey:
        name = self._name()
        if name not in _surveys:
            _surveys.clear()
            _surveys[name] = survey(self._rows(), self._source, self.columns, self._spec["borders"])
        return _surveys[name]

    def _rows(self) -> Rows:
        return Rows(self._source, self.columns, self._reach)

    def _pieces(self) -> Iterator[tuple[str, bytes]]:
        """The prepared files: the arrays of a `Part` from end to end, and what they mean."""
        found = self._survey()
        mean, std = found.mean.astype(np.float32), found.std.astype(np.float32)
        rows = self._rows()
        for chunk in rows:
            gaps = np.isnan(chunk.table.values[:, found.flags])
            clock = calendar(chunk.table.hours, self._spec["calendar"])
            scaled = np.nan_to_num((chunk.filled - mean) / std)  # before the first value: the mean
            ends = chunk.targets
            piece = {
                "values": np.column_stack([scaled, gaps, *clock]),  # (step, feature)
                "rows": chunk.first + ends - self._reach,
                "targets": (chunk.table.values[ends, 0] - mean[0]) / std[0],
                "index": chunk.hours[ends],
            }
            for name, array in piece.items():
                yield name, np.ascontiguousarray(array, _ARRAYS[name]).tobytes()
        facts = {"rows": found.rows, "cuts": found.cuts, "windows": found.windows}
        scale = {"mean": mean.tolist(), "std": std.tolist(), "flags": found.flags}
        scale["step"] = rows.step
        yield "facts.json", json.dumps(facts | scale).encode()


def _mapped(path: Path, kind: Any) -> Array:
    """A file's numbers, read when they are used; processes that map it share its pages."""
    array: Array = np.memmap(path, kind, "r")
    return array
