"""The inputs of a split, ready for a model: where they live, and how a batch is taken from them."""

from typing import final

import torch
from torch import Tensor

from models.split import Array


@final
class Inputs:
    """All inputs on one device, held once: windows are views of the series.

    `values` is (step, feature) with a `window`, or (item, channel, frequency, frame) without (0).
    """

    def __init__(self, values: Array, window: int, device: torch.device) -> None:
        self.shape = values.shape[1:]  # of one step, or of one item
        self.device = device
        held = torch.from_numpy(values).to(device)
        # (item, time, feature) as views of (step, feature), or (item, channel, frequency, frame)
        self._items = held.unfold(0, window, 1).transpose(1, 2) if window else held

    def take(self, rows: Tensor) -> Tensor:
        """The inputs that begin at `rows` (batch,): (batch, time, feature) or (batch, *item)."""
        return self._items[rows]
