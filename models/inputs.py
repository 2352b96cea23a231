"""The inputs of a split, ready for a model: where they live, and how a batch is taken from them."""

import mmap
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import final

import numpy as np
import torch
from torch import Tensor

from models.bins import Bins
from models.split import Array, Part, mapping

SHARE = 0.5  # of the GPU's free memory that a set may take; the model and its batches need the rest
_TOUCHED = 2**27  # bytes of a map that may lie in this process's memory, by estimate
_AROUND = 2**21  # bytes that the kernel may map around a place that is read: a huge page


@final
class Inputs:
    """All inputs of a part, held once: windows are views of the series.

    They live on the device, or, where they do not fit or are a map of a file, on the host. `bins`
    are further features, made of a batch when it is taken.
    """

    def __init__(self, part: Part, device: torch.device, bins: Bins | None = None) -> None:
        values, window = part.values, part.window
        self.shape = values.shape[1:]  # of one step, or of one item
        if bins:
            self.shape = (values.shape[1] + bins.width,)
        self.device, self._bins = device, bins
        self.streamed = not _resides(values, device)
        held = tensor(values)
        if not self.streamed:
            held = held.to(device)
        # (item, time, feature) as views of (step, feature), or (item, channel, frequency, frame)
        self._items = held.unfold(0, window, 1).transpose(1, 2) if window else held
        self._map = _Map.of(values, window) if device.type == "cpu" or self.streamed else None

    def take(self, rows: Tensor) -> Tensor:
        """The inputs that begin at `rows` (batch,): (batch, time, feature) or (batch, *item)."""
        if not self.streamed:
            return self._ready(self._gathered(rows))
        return self._ready(self._pinned(rows.cpu()))

    def batches(self, rows: Sequence[Tensor]) -> Iterator[Tensor]:
        """`take` for one batch after the other; what is streamed is gathered one batch ahead."""
        if not self.streamed:
            yield from map(self.take, rows)
            return
        # All rows come to the host at once: a copy a batch would wait for the batch before it.
        waiting = torch.split(torch.cat([*rows]).cpu(), [len(batch) for batch in rows])
        with ThreadPoolExecutor(1) as ahead:
            next_ = ahead.submit(self._pinned, waiting[0])
            for batch in waiting[1:]:
                now, next_ = next_.result(), ahead.submit(self._pinned, batch)
                yield self._ready(now)
            yield self._ready(next_.result())

    def _gathered(self, rows: Tensor) -> Tensor:
        if self._map:
            self._map.read(len(rows))
        return self._items[rows]

    def _pinned(self, rows: Tensor) -> Tensor:
        """A batch in host memory that the GPU can copy from while it computes."""
        batch = self._gathered(rows)
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def _ready(self, batch: Tensor) -> Tensor:
        batch = batch.to(self.device, non_blocking=True)
        return self._bins(batch) if self._bins else batch


@final
class _Map:
    """A map of a file, whose pages leave this process's memory again before they are many.

    They stay in the kernel's cache, from where the next read has them back in no time.
    """

    def __init__(self, map_: mmap.mmap, size: int) -> None:
        self._map, self._size, self._read = map_, size, 0

    @classmethod
    def of(cls, values: Array, window: int) -> "_Map | None":
        """The map behind an array; None where it is in memory."""
        item = values.itemsize * int(np.prod(values.shape[1:])) * max(window, 1)
        found = mapping(values)
        return cls(found, item + _AROUND) if found else None

    def read(self, items: int) -> None:
        """Note that so many items are about to be read."""
        self._read += items * self._size
        if self._read > _TOUCHED:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = items * self._size


def tensor(array: Array) -> Tensor:
    """The array as a tensor without a copy, one that can only be read too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def _resides(values: Array, device: torch.device) -> bool:
    """Whether an array lies on the device: on the CPU where it is, on a GPU a copy that fits."""
    return device.type == "cpu" or values.nbytes <= SHARE * torch.cuda.mem_get_info(device)[0]
