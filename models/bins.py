"""Features as where they lie among their quantiles, so that a network can draw sharp lines."""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from models.split import Array, Part, mapping

_SAMPLE = 2**20  # steps of a series larger than memory that its quantiles are taken of


def edges(train: Part, bins: int) -> list[Array]:
    """The edges of each feature's bins: the training part's quantiles, or a sample's if large."""
    end = int(train.rows[-1]) + train.window
    known = train.values[: end : max(1, end // _SAMPLE) if mapping(train.values) else 1]
    return [_edges(known[:, column], bins) for column in range(known.shape[1])]


def placed(values: Array, edges: Sequence[Array]) -> Array:
    """The values (step, feature), each also as where it lies among its feature's bins.

    A network draws smooth lines and boosting sharp ones; with the piecewise linear encoding of
    Gorishniy et al. 2022 (arXiv 2203.05556) a network can draw both. A value above a quantile's
    bin is 1 there, below it 0, inside it the fraction of the way.
    """
    columns = [values]
    for column, edge in enumerate(edges):
        place = (values[:, column, None] - edge[:-1]) / np.diff(edge)  # (step, bin)
        columns.append(place.clip(0, 1))
    return np.concatenate(columns, axis=1, dtype=np.float32)  # (step, feature + bins used)


@final
class Bins:
    """The same for one batch after the other, since the whole would be many times the series."""

    def __init__(self, edges: Sequence[Array]) -> None:
        self.width = sum(len(each) - 1 for each in edges)
        self._column = torch.tensor([c for c, each in enumerate(edges) for _ in each[1:]])
        self._low = torch.tensor(np.concatenate([each[:-1] for each in edges]), dtype=torch.float32)
        self._span = torch.tensor(np.concatenate([*map(np.diff, edges)]), dtype=torch.float32)

    def __call__(self, batch: Tensor) -> Tensor:
        """The batch (item, time, feature) with its bins as further features."""
        column, low, span = (t.to(batch.device) for t in (self._column, self._low, self._span))
        place = (batch[:, :, column] - low) / span  # (item, time, bin)
        return torch.cat([batch, place.clamp(0, 1)], dim=2)


def _edges(values: Array, bins: int) -> Array:
    """The different quantiles of (step,) values."""
    edges: Array = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    return edges
