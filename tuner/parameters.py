"""One parameter of a search space: a range, a whole range, or a list of choices."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from tuner.inputs import BadInput, settle

When = Mapping[str, Any]
Value = float | int | str | bool
_TOLERANCE = 1e-9  # of a step: 0.1 + 4 × 0.1 is not 0.5 in binary


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
        settle(self)
        _check_range(self)

    @property
    def size(self) -> int | None:
        """How many values there are; None where they are a continuum."""
        return None if self.step is None else 1 + round((self.high - self.low) / self.step)

    def from_unit(self, u: float) -> float:
        """The value at `u` in [0, 1)."""
        if self.size is not None:
            return self.at(_cell(u, self.size))
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return self.at(math.exp(low + u * (high - low)))
        return self.at(self.low + u * (self.high - self.low))

    def place(self, value: float) -> float:
        """Where the engines see a value: its place on the grid, or itself without one."""
        return value if self.step is None else round((value - self.low) / self.step)

    def at(self, place: float) -> float:
        """The value at a place."""
        if self.step is None:
            return min(max(float(place), self.low), self.high)
        # 12 digits: 0.1 + 2 × 0.1 would be 0.30000000000000004
        return min(float(f"{self.low + place * self.step:.12g}"), self.high)

    def problem(self, value: Any) -> str:
        """Why a value is not one of this parameter's, or an empty string."""
        if not _is_number(value):
            return "is no number"
        return _outside(self, value)


@final
@dataclass(frozen=True, slots=True)
class Int:
    """A whole parameter from low to high inclusive; every value has the same chance.

    With `log`, a value's chance is the logarithm of its cell (value − ½, value + ½).
    """

    low: int
    high: int
    log: bool = False
    step: int = 1
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle(self)
        for name in ("low", "high", "step"):
            if not _is_whole(value := getattr(self, name)):
                raise BadInput(name, f"{value!r} is no whole number", 'write it so, or use "float"')
        _check_range(self)

    @property
    def size(self) -> int:
        """How many values there are."""
        return 1 + (self.high - self.low) // self.step

    def from_unit(self, u: float) -> int:
        """The value at `u` in [0, 1)."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return self.at(math.exp(low + u * (high - low)))
        return self.at(_cell(u, self.size))

    def place(self, value: int) -> int:
        """Where the engines see a value: its place on the grid, or itself where that is log."""
        return value if self.log else (value - self.low) // self.step

    def at(self, place: float) -> int:
        """The value at a place."""
        value = round(place) if self.log else self.low + round(place) * self.step
        return min(max(value, self.low), self.high)

    def problem(self, value: Any) -> str:
        """Why a value is not one of this parameter's, or an empty string."""
        if not _is_whole(value):
            return "is no whole number"
        return _outside(self, value)


@final
@dataclass(frozen=True, slots=True)
class Categorical:
    """One of some choices without an order: numbers, words, true or false."""

    choices: Sequence[Value]
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle(self)
        if not isinstance(self.choices, Sequence) or isinstance(self.choices, str):
            raise BadInput("choices", "is no list", 'write choices = ["a", "b"]')
        object.__setattr__(self, "choices", tuple(self.choices))
        if not self.choices:
            raise BadInput("choices", "is empty", "give at least one")
        for choice in self.choices:
            if not isinstance(choice, (str, bool)) and not _is_number(choice):
                raise BadInput("choices", f"{choice!r} will not do", "use words and numbers")
        if len(set(self.choices)) < len(self.choices):  # 1, 1.0 and true are equal too
            raise BadInput("choices", "has a choice twice", "give each once")

    @property
    def size(self) -> int:
        """How many choices there are."""
        return len(self.choices)

    def from_unit(self, u: float) -> Value:
        """The choice at `u` in [0, 1)."""
        return self.at(_cell(u, self.size))

    def place(self, value: Value) -> int:
        """The place of a choice."""
        return self.choices.index(value)

    def at(self, place: float) -> Value:
        """The choice at a place."""
        return self.choices[round(place)]

    def problem(self, value: Any) -> str:
        """Why a value is not one of this parameter's, or an empty string."""
        same = any(type(value) is type(choice) and value == choice for choice in self.choices)
        return "" if same else f"is none of {list(self.choices)}"


Parameter = Float | Int | Categorical
_KINDS: Mapping[str, type[Parameter]] = {"float": Float, "int": Int, "categorical": Categorical}


def values(parameter: Parameter) -> list[Value]:
    """All values of a parameter in order; none for a continuum."""
    first = parameter.low if isinstance(parameter, Int) and parameter.log else 0
    return [parameter.at(first + i) for i in range(parameter.size or 0)]


def from_entry(name: str, entry: Any) -> Parameter:
    """The parameter of an entry of `[space]`; raises BadInput with a key such as space.lr.low."""
    key = f"space.{name}"
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        remedy = f"write {name} = {{ type = ... }} with one of: {', '.join(_KINDS)}"
        raise BadInput(f"{key}.type", f"{kind!r} is unknown", remedy)
    given = {k: v for k, v in entry.items() if k != "type"}
    fields = {f.name: f for f in dataclasses.fields(_KINDS[kind])}
    for unknown in sorted(given.keys() - fields.keys()):
        raise BadInput(f"{key}.{unknown}", "unknown key", f"a {kind} has: {', '.join(fields)}")
    for missing in sorted(({"low", "high", "choices"} & fields.keys()) - given.keys()):
        raise BadInput(f"{key}.{missing}", "is missing", "add it")
    if not isinstance(given.get("when", {}), Mapping):
        raise BadInput(f"{key}.when", "is no table", 'write when = { optimizer = "sgd" }')
    try:
        return _KINDS[kind](**given)
    except BadInput as error:
        raise BadInput(f"{key}.{error.key}", error.problem, error.remedy) from None


def to_entry(parameter: Parameter) -> dict[str, Any]:
    """The entry that `from_entry` reads back."""
    kind = next(name for name, type_ in _KINDS.items() if type(parameter) is type_)
    values = {f.name: getattr(parameter, f.name) for f in dataclasses.fields(parameter)}
    shown = {k: v for k, v in values.items() if v is not None and v != {}}
    return {"type": kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in shown.items()}}


def _check_range(parameter: Float | Int) -> None:
    low, high, log = parameter.low, parameter.high, parameter.log
    for name in ("low", "high"):
        if not _is_number(value := getattr(parameter, name)):
            raise BadInput(name, f"{value!r} is no number", "give a finite one")
    if not isinstance(log, bool):
        raise BadInput("log", f"{log!r} will not do", "write true or false")
    if low >= high:
        remedy = "swap them, or move it to [fixed]"
        raise BadInput("low", f"{low} is not below high = {high}", remedy)
    if log and low <= 0:
        raise BadInput("low", f"{low} has no logarithm", "raise it above 0, or drop log")
    if parameter.step is not None:
        _check_step(parameter, parameter.step)


def _check_step(parameter: Float | Int, step: float) -> None:
    low, high = parameter.low, parameter.high
    if not _is_number(step) or step <= 0:
        raise BadInput("step", f"{step!r} will not do", "give a number above 0")
    if parameter.log and (isinstance(parameter, Float) or step != 1):
        raise BadInput("step", "does not go with log", "drop one of them")
    if step > high - low or _off_grid(high, low, step):
        problem = f"{step} does not divide the range {low} … {high}"
        steps = max(1, math.floor((high - low) / step))
        raise BadInput("step", problem, f"set high = {low + steps * step:g}")


def _outside(parameter: Float | Int, value: float) -> str:
    low, high, step = parameter.low, parameter.high, parameter.step
    if not low <= value <= high:
        return f"is outside {low} … {high}"
    off = step is not None and _off_grid(value, low, step)
    return f"is not on the grid {low} + k × {step}" if off else ""


def _off_grid(value: float, low: float, step: float) -> bool:
    steps = (value - low) / step
    return abs(steps - round(steps)) > _TOLERANCE * max(1.0, steps)


def _cell(u: float, size: int) -> int:
    """The cell of [0, 1) that `u` falls into, out of `size` equal ones."""
    return min(max(int(u * size), 0), size - 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
