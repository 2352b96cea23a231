"""Points of a space as a model sees them: rows of numbers, rounded as they will be trained."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from tuner.parameters import Categorical, Parameter
from tuner.space import Space

Array = NDArray[np.float64]

_MOST_VALUES = 64  # of a discrete parameter that are all tried; beyond it is like a continuum


@final
class Encoding:
    """Between params and their places: a number in [0, 1] a parameter, a category's its index."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.parameters = list(space.parameters.values())
        self.sizes = [p.size for p in self.parameters]
        self.categories = [isinstance(p, Categorical) for p in self.parameters]
        widths = [p.size or 1 if isinstance(p, Categorical) else 1 for p in self.parameters]
        self.of = np.repeat(np.arange(len(widths)), widths)  # (column,): whose it is
        self.continuous = [
            i for i, size in enumerate(self.sizes) if size is None or size > _MOST_VALUES
        ]  # none of them is a category: nobody lists so many choices, and if, they are drawn
        self._middle = self._place_all(space.filled({}))

    def places(self, params: Mapping[str, Any]) -> Array:
        """Where a point is, (parameter,)."""
        return self._place_all(self.space.filled(params))

    def params(self, places: Sequence[float] | Array) -> dict[str, Any]:
        """The point at some places, without the parameters that are inactive there."""
        pairs = zip(self.space.parameters.items(), places, strict=True)
        return self.space.only_active({name: _value(p, float(u)) for (name, p), u in pairs})

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Places drawn uniformly, (n, parameter), rounded."""
        unit = rng.random((n, len(self.parameters)))
        for i, (size, category) in enumerate(zip(self.sizes, self.categories, strict=True)):
            if size is not None and not _is_log(self.parameters[i]):
                cells = np.minimum(np.floor(unit[:, i] * size), size - 1)
                unit[:, i] = cells if category else cells / max(1, size - 1)
        return self.rounded(unit)

    def rounded(self, places: Array) -> Array:
        """Places as they will be trained: on their grids, inactive ones in the middle."""
        out = places.copy()
        for i, parameter in enumerate(self.parameters):
            out[:, i] = _rounded(parameter, places[:, i])
        for i, active in self._active(out):
            out[:, i] = np.where(active, out[:, i], self._middle[i])
        return out

    def columns(self, places: Array) -> Array:
        """What a kernel measures distances of, (n, parameter) → (n, column).

        A category has a column a choice, such that two choices are a distance of 1 apart.
        """
        parts = [
            (places[:, i, None] == np.arange(self.sizes[i] or 0)) / math.sqrt(2.0)
            if category
            else places[:, i, None]
            for i, category in enumerate(self.categories)
        ]
        return np.hstack(parts)

    def values(self, i: int) -> Array:
        """All places of a discrete parameter, in order."""
        size = self.sizes[i] or 0
        if self.categories[i]:
            return np.arange(size, dtype=float)
        parameter = self.parameters[i]
        if _is_log(parameter):
            whole = np.arange(parameter.low, parameter.high + 1, dtype=float)  # type: ignore[union-attr]
            return _scaled(parameter, whole)
        return np.arange(size) / max(1, size - 1)

    def _place_all(self, filled: Mapping[str, Any]) -> Array:
        pairs = zip(self.parameters, filled.values(), strict=True)
        return np.array([_place(parameter, value) for parameter, value in pairs])

    def _active(self, places: Array) -> list[tuple[int, NDArray[np.bool_]]]:
        """For each conditional parameter the rows where it counts."""
        names = list(self.space.parameters)
        actives: dict[str, NDArray[np.bool_]] = {}

        def active(name: str) -> NDArray[np.bool_]:
            if name not in actives:
                rows = np.ones(len(places), dtype=bool)
                for other, value in self.space.parameters[name].when.items():
                    i = names.index(other)
                    at = _place(self.parameters[i], value)
                    rows &= np.isclose(places[:, i], at) & active(other)
                actives[name] = rows
            return actives[name]

        return [(i, active(n)) for i, n in enumerate(names) if self.space.parameters[n].when]


def _is_log(parameter: Parameter) -> bool:
    return not isinstance(parameter, Categorical) and parameter.log


def _place(parameter: Parameter, value: Any) -> float:
    if isinstance(parameter, Categorical):
        return float(parameter.place(value))
    return float(_scaled(parameter, np.array(float(value))))


def _value(parameter: Parameter, place: float) -> Any:
    if isinstance(parameter, Categorical):
        return parameter.at(place)
    real = float(_unscaled(parameter, np.array(place)))
    if parameter.size is None or _is_log(parameter):
        return parameter.at(real)
    return parameter.at(round(place * (parameter.size - 1)))


def _rounded(parameter: Parameter, places: Array) -> Array:
    if isinstance(parameter, Categorical):
        return np.clip(np.round(places), 0, parameter.size - 1)
    clipped = np.clip(places, 0.0, 1.0)
    if parameter.size is None:
        return clipped
    if _is_log(parameter):
        return _scaled(parameter, np.round(_unscaled(parameter, clipped)))
    steps = max(1, parameter.size - 1)
    return np.round(clipped * steps) / steps


def _scaled(parameter: Any, values: Array) -> Array:
    """Values in [low, high] → [0, 1], by their logarithms where the parameter is so."""
    low, high = parameter.low, parameter.high
    if parameter.log:
        low, high, values = math.log(low), math.log(high), np.log(values)
    scaled: Array = (values - low) / (high - low)
    return scaled


def _unscaled(parameter: Any, places: Array) -> Array:
    low, high = parameter.low, parameter.high
    if parameter.log:
        low, high = math.log(low), math.log(high)
    values: Array = low + places * (high - low)
    return np.exp(values) if parameter.log else values
