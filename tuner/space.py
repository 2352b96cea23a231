"""The search space: Float, Int and Categorical parameters, and conditions between them."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

When = Mapping[str, Any]
_TOLERANCE = 1e-9  # of a float step, relative
Value = float | int | str | bool | None


class BadInput(Exception):  # noqa: N818 - the input is at fault, not the program
    """A fault of the user's input: which key, what is wrong, and what to do about it."""

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{key}: {problem}; {remedy}")
        self.key, self.problem, self.remedy = key, problem, remedy


@final
@dataclass(frozen=True, slots=True)
class Float:
    """A real parameter in [low, high], uniform, log-uniform, or on a grid of `step` from low."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_range(self)

    @property
    def size(self) -> int | None:
        """How many values there are; None where they are a continuum."""
        return None if self.step is None else 1 + round((self.high - self.low) / self.step)

    def from_unit(self, u: float) -> float:
        """The value at `u` in [0, 1)."""
        if self.size is not None and self.step is not None:
            # round: 0.1 + 2 × 0.1 would be 0.30000000000000004
            return round(self.low + _cell(u, self.size) * self.step, 12)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return min(max(math.exp(low + u * (high - low)), self.low), self.high)
        return self.low + u * (self.high - self.low)

    def to_unit(self, value: Any) -> float:
        """Where a value lies in [0, 1]; a grid's values at the middle of their cells."""
        if self.size is not None and self.step is not None:
            return float((round((value - self.low) / self.step) + 0.5) / self.size)
        if self.log:
            return float(math.log(value / self.low) / math.log(self.high / self.low))
        return float((value - self.low) / (self.high - self.low))

    def problem(self, value: Any) -> str:
        """Why a value is not one of this parameter's, or an empty string."""
        if not _is_number(value):
            return "is no number"
        if not self.low <= value <= self.high:
            return f"is outside {self.low} … {self.high}"
        return _off_grid(value, self.low, self.step)


@final
@dataclass(frozen=True, slots=True)
class Int:
    """A whole parameter from low to high inclusive; every value has the same chance."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise BadInput(name, f"{value!r} is no whole number", 'write it so, or use "float"')
        _check_range(self)

    @property
    def size(self) -> int:
        """How many values there are."""
        return 1 + (self.high - self.low) // self.step

    def from_unit(self, u: float) -> int:
        """The value at `u` in [0, 1)."""
        if self.log:  # cells from low − ½ to high + ½, so that the ends are not halved
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return min(max(round(math.exp(low + u * (high - low))), self.low), self.high)
        return self.low + _cell(u, self.size) * self.step

    def to_unit(self, value: Any) -> float:
        """The middle of a value's cell in [0, 1]."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return (math.log(value) - low) / (high - low)
        return float(((value - self.low) // self.step + 0.5) / self.size)

    def problem(self, value: Any) -> str:
        """Why a value is not one of this parameter's, or an empty string."""
        if not isinstance(value, int) or isinstance(value, bool):
            return "is no whole number"
        if not self.low <= value <= self.high:
            return f"is outside {self.low} … {self.high}"
        return _off_grid(value, self.low, self.step)


@final
@dataclass(frozen=True, slots=True)
class Categorical:
    """One of some choices without an order: numbers, words, true or false."""

    choices: tuple[Value, ...]
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.choices, Sequence) or isinstance(self.choices, str):
            raise BadInput("choices", "is no list", 'write choices = ["a", "b"]')
        object.__setattr__(self, "choices", tuple(self.choices))
        if not self.choices:
            raise BadInput("choices", "is empty", "give at least one")
        for choice in self.choices:
            if not isinstance(choice, (str, int, float, bool)):
                raise BadInput("choices", f"{choice!r} will not do", "use words and numbers")
        if len({(type(c), c) for c in self.choices}) < len(self.choices):
            raise BadInput("choices", "has a choice twice", "give each once")

    @property
    def size(self) -> int:
        """How many choices there are."""
        return len(self.choices)

    def from_unit(self, u: float) -> Value:
        """The choice at `u` in [0, 1)."""
        return self.choices[_cell(u, self.size)]

    def to_unit(self, value: Any) -> float:
        """The middle of a choice's cell in [0, 1]."""
        return (self.index(value) + 0.5) / self.size

    def index(self, value: Any) -> int:
        """The place of a choice; 1, 1.0 and true are different ones."""
        return [(type(c), c) for c in self.choices].index((type(value), value))

    def problem(self, value: Any) -> str:
        """Why a value is not one of this parameter's, or an empty string."""
        known = [(type(c), c) for c in self.choices]
        return "" if (type(value), value) in known else f"is none of {list(self.choices)}"


Parameter = Float | Int | Categorical
_KINDS: Mapping[str, type[Parameter]] = {"float": Float, "int": Int, "categorical": Categorical}


@final
@dataclass(frozen=True, slots=True)
class Space:
    """Named parameters in file order; one with `when` counts only where that condition holds."""

    parameters: Mapping[str, Parameter]

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "Space":
        """The space of a `[space]` table; raises BadInput with a key such as space.lr.low."""
        if not table:
            raise BadInput("space", "is empty", "add a parameter")
        space = cls({name: _parameter(name, entry) for name, entry in table.items()})
        for name in space.parameters:
            space._check_condition(name)
        return space

    def to_table(self) -> dict[str, Any]:
        """The table that `from_table` reads back."""
        return {name: _entry(parameter) for name, parameter in self.parameters.items()}

    def active(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The parameters whose conditions hold, and those of what they depend on."""
        return tuple(name for name in self.parameters if self._is_active(name, params))

    def from_unit(self, u: Sequence[float]) -> dict[str, Any]:
        """The params at a point of the unit cube; inactive parameters are left out."""
        pairs = zip(self.parameters.items(), u, strict=True)
        params = {name: parameter.from_unit(float(x)) for (name, parameter), x in pairs}
        return {name: params[name] for name in self.active(params)}

    def check(self, params: Mapping[str, Any]) -> None:
        """Raise BadInput unless `params` is a point of this space, complete and on its grids."""
        for name in params:
            if name not in self.parameters:
                known = ", ".join(self.parameters)
                raise BadInput(name, "is no parameter of [space]", f"known: {known}")
        active = self.active(params)
        for name, parameter in self.parameters.items():
            if name not in active and name in params:
                raise BadInput(name, "is given where its `when` does not hold", "remove it")
            if name in active and name not in params:
                raise BadInput(name, "is missing", "give it a value")
            if name in active and (problem := parameter.problem(params[name])):
                raise BadInput(name, f"{params[name]!r} {problem}", "give a value of the space")

    def _is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        when = self.parameters[name].when
        return all(
            other in params and params[other] == value and self._is_active(other, params)
            for other, value in when.items()
        )

    def _check_condition(self, name: str) -> None:
        key = f"space.{name}.when"
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


def _parameter(name: str, entry: Any) -> Parameter:
    key = f"space.{name}"
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        remedy = f"write {name} = {{ type = ... }} with one of: {', '.join(_KINDS)}"
        raise BadInput(f"{key}.type", f"{kind!r} is unknown", remedy)
    values = {k: v for k, v in entry.items() if k != "type"}
    fields = dataclasses.fields(_KINDS[kind])
    for unknown in values.keys() - {f.name for f in fields}:
        known = ", ".join(f.name for f in fields)
        raise BadInput(f"{key}.{unknown}", "unknown key", f"a {kind} has: {known}")
    required = {f.name for f in fields if f.default is dataclasses.MISSING and f.name != "when"}
    for missing in sorted(required - values.keys()):
        raise BadInput(f"{key}.{missing}", "is missing", "add it")
    if not isinstance(values.get("when", {}), Mapping):
        raise BadInput(f"{key}.when", "is no table", 'write when = { optimizer = "sgd" }')
    try:
        return _KINDS[kind](**values)
    except BadInput as error:
        raise BadInput(f"{key}.{error.key}", error.problem, error.remedy) from None


def _entry(parameter: Parameter) -> dict[str, Any]:
    kind = next(name for name, type_ in _KINDS.items() if type(parameter) is type_)
    values = {f.name: getattr(parameter, f.name) for f in dataclasses.fields(parameter)}
    shown = {k: v for k, v in values.items() if v is not None and v != {}}
    return {"type": kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in shown.items()}}


def _check_range(parameter: Float | Int) -> None:
    low, high, step = parameter.low, parameter.high, parameter.step
    for name in ("low", "high"):
        if not _is_number(getattr(parameter, name)):
            raise BadInput(name, f"{getattr(parameter, name)!r} is no number", "give a finite one")
    if not isinstance(parameter.log, bool):
        raise BadInput("log", f"{parameter.log!r} will not do", "write true or false")
    if low >= high:
        raise BadInput(
            "low", f"{low} is not below high = {high}", "swap them, or move it to [fixed]"
        )
    if parameter.log and low <= 0:
        raise BadInput("low", f"{low} has no logarithm", "raise it above 0, or drop log")
    if step is None:
        return
    if not _is_number(step) or step <= 0:
        raise BadInput("step", f"{step!r} will not do", "give a number above 0")
    if parameter.log and step != 1:
        raise BadInput("step", "does not go with log", "drop one of them")
    steps = (high - low) / step
    if abs(steps - round(steps)) > _TOLERANCE * max(1.0, steps):
        problem = f"{step} does not divide the range {low} … {high}"
        raise BadInput("step", problem, f"set high = {low + math.floor(steps) * step:g}")


def _off_grid(value: float, low: float, step: float | None) -> str:
    if step is None:
        return ""
    steps = (value - low) / step
    near = abs(steps - round(steps)) <= _TOLERANCE * max(1.0, steps)
    return "" if near else f"is not on the grid {low} + k × {step}"


def _cell(u: float, size: int) -> int:
    """The cell of [0, 1) that `u` falls into, out of `size` equal ones."""
    return min(max(int(u * size), 0), size - 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
