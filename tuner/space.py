"""The search space: named parameters, and the conditions between them."""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from tuner.inputs import BadInput
from tuner.parameters import Categorical, Float, Int, Parameter, from_entry, to_entry, values

__all__ = ["BadInput", "Categorical", "Float", "Int", "Parameter", "Space", "identity"]

Identity = tuple[tuple[str, Any], ...]
_COUNTABLE = 10_000  # points of a space that are all looked at for one that is new
_DRAWS = 500  # points that are drawn from a larger one


@final
@dataclass(frozen=True, slots=True)
class Space:
    """Named parameters in file order; one with `when` counts only where that condition holds."""

    parameters: Mapping[str, Parameter]

    def __post_init__(self) -> None:
        if not isinstance(self.parameters, Mapping) or not self.parameters:
            raise BadInput("space", "has no parameters", "write a [space] table with some")
        for name, parameter in self.parameters.items():
            if not isinstance(name, str):
                raise BadInput("space", f"{name!r} will not do for a name", "use words")
            if not isinstance(parameter, Parameter):
                remedy = "write a Float, an Int or a Categorical"
                raise BadInput(f"space.{name}", f"{parameter!r} is no parameter", remedy)
        for name in self.parameters:
            self._check_condition(name)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "Space":
        """The space of a `[space]` table; raises BadInput with a key such as space.lr.low."""
        if not isinstance(table, Mapping) or not table:
            raise BadInput("space", "has no parameters", "write a [space] table with some")
        return cls({name: from_entry(name, entry) for name, entry in table.items()})

    def to_table(self) -> dict[str, Any]:
        """The table that `from_table` reads back."""
        return {name: to_entry(parameter) for name, parameter in self.parameters.items()}

    def active(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The parameters whose conditions hold, and those of what they depend on."""
        return tuple(name for name in self.parameters if self._is_active(name, params))

    def only_active(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The params without those whose conditions do not hold, in file order."""
        return {name: params[name] for name in self.active(params)}

    def filled(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The params with the middle of its range for every inactive one, in file order."""
        return {n: params[n] if n in params else p.from_unit(0.5) for n, p in self._items()}

    def from_unit(self, u: Sequence[float]) -> dict[str, Any]:
        """The params at a point of the unit cube; inactive parameters are left out."""
        pairs = zip(self._items(), u, strict=True)
        return self.only_active({name: p.from_unit(float(x)) for (name, p), x in pairs})

    def untried(self, known: Collection[Identity], seed: int) -> list[dict[str, Any]]:
        """Points whose identity is not `known`; none only where all points are.

        All points of a small space, some drawn at random from a large one.
        """
        sizes = [p.size for p in self.parameters.values()]
        countable = math.prod(size or _COUNTABLE + 1 for size in sizes) <= _COUNTABLE
        points = self._all() if countable else self._drawn(seed)
        return list({i: p for p in points if (i := identity(p)) not in known}.values())

    def check(self, params: Mapping[str, Any]) -> None:
        """Raise BadInput unless `params` is a point of this space, complete and on its grids."""
        for name in params:
            if name not in self.parameters:
                known = ", ".join(self.parameters)
                raise BadInput(name, "is no parameter of [space]", f"known: {known}")
        active = self.active(params)
        for name, parameter in self._items():
            if name not in active and name in params:
                raise BadInput(name, "is given where its `when` does not hold", "remove it")
            if name in active and name not in params:
                raise BadInput(name, "is missing", "give it a value")
            if name in active and (problem := parameter.problem(params[name])):
                raise BadInput(name, f"{params[name]!r} {problem}", "give a value of the space")

    def _items(self) -> Collection[tuple[str, Parameter]]:
        return self.parameters.items()

    def _all(self) -> Iterator[dict[str, Any]]:
        for point in itertools.product(*map(values, self.parameters.values())):
            yield self.only_active(dict(zip(self.parameters, point, strict=True)))

    def _drawn(self, seed: int) -> Iterator[dict[str, Any]]:
        import numpy as np  # noqa: PLC0415 - a tenth of a second, for those who ask

        draws = np.random.default_rng(seed).random((_DRAWS, len(self.parameters)))
        return (self.from_unit(u.tolist()) for u in draws)

    def _is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        when = self.parameters[name].when
        return all(
            other in params and params[other] == value and self._is_active(other, params)
            for other, value in when.items()
        )

    def _check_condition(self, name: str) -> None:
        key = f"space.{name}.when"
        if not isinstance(self.parameters[name].when, Mapping):
            raise BadInput(key, "is no table", 'write when = { optimizer = "sgd" }')
        for other, value in self.parameters[name].when.items():
            if other not in self.parameters:
                raise BadInput(key, f"{other!r} is no parameter", "name one of [space]")
            if problem := self.parameters[other].problem(value):
                raise BadInput(key, f"{other} = {value!r} {problem}", "name a value it can have")
        if name in self._above(name, ()):
            raise BadInput(key, "depends on itself", "break the circle")

    def _above(self, name: str, seen: tuple[str, ...]) -> Iterator[str]:
        for other in self.parameters[name].when:
            yield other
            if other not in seen:
                yield from self._above(other, (*seen, other))


def identity(params: Mapping[str, Any]) -> Identity:
    """What makes two points the same one, hashable."""
    return tuple(sorted(params.items()))
