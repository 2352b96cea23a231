"""What a data set hands to training: parts with a border between them that no target crosses."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]


class DataError(ValueError):
    """A fault in the study file's `[data]` table, or in the file that it names.

    `key` is the key of that table, e.g. "target".
    """

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{key}: {problem}; {remedy}")
        self.key, self.problem, self.remedy = key, problem, remedy


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split; parts of a split share `values`, so a part costs little more than rows.

    `values` is (step, feature) for a series or (item, channel, frequency, frame) for recordings,
    float32, scaled with the statistics of the training part. With a `window`, input i is the
    `window` steps from `rows[i]` on; without one (0) it is the item `rows[i]`. `targets` is (n,)
    float32, scaled, or int64 class ids. `index` is (n,): the target's hour since 1970 (series),
    or the group (recordings).
    """

    values: Array
    window: int
    rows: Array
    targets: Array
    index: Array

    @property
    def inputs(self) -> Array:
        """All inputs in memory at once: (n, time, feature) or (n, channel, frequency, frame)."""
        if not self.window:
            return self.values[self.rows]
        views = sliding_window_view(self.values, self.window, axis=0)  # (start, feature, time)
        return views.swapaxes(1, 2)[self.rows]


@dataclass(frozen=True, slots=True)
class Split:
    """What one model is trained, chosen and tested on.

    Without a `validation` there is nothing to choose an epoch by. `test` is there only for the
    parts that are trained after the search: a search cannot see it. A target in real units is
    scaled × `std` + `mean`; both are the training part's, and (0, 1) for classes. `recipe` says
    how raw values become inputs, as `models.serve` reads it: plain values and arrays.
    """

    train: Part
    validation: Part | None
    test: Part | None
    mean: float = 0.0
    std: float = 1.0
    recipe: Mapping[str, Any] = field(default_factory=dict)


class Dataset(Protocol):
    """What `models.data.load` returns: a `Series` or `Recordings`."""

    @property
    def task(self) -> Literal["regression", "classification"]:
        """Whether targets are numbers or class ids."""
        ...

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        ...

    @property
    def target_column(self) -> int:
        """The feature that holds the scaled target, the forecast of persistence; series only."""
        ...

    def parts(self) -> tuple[str, ...]:
        """What is to be trained for the winner of a search: "test", and "leave:<group>" each."""
        ...

    def splits(self, part: str) -> tuple[Split, ...]:
        """One split, or for the "search" of recordings one for each fold."""
        ...

    def resumes_search(self, part: str) -> bool:
        """Whether `part` trains on exactly the search's split: its finished model then serves."""
        ...


def mapping(values: Array) -> mmap.mmap | None:
    """The map of a file that an array is a view of; None where it is in memory."""
    base: object = values
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None
