"""What a user gives: brought into JSON's terms, or refused with its key."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import Any


class BadInput(Exception):  # noqa: N818 - the input is at fault, not the program
    """A fault of the user's input: which key, what is wrong, and what to do about it."""

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{key}: {problem}; {remedy}" if key else f"{problem}; {remedy}")
        self.key, self.problem, self.remedy = key, problem, remedy


def settle(record: Any, prefix: str = "") -> None:
    """Bring the fields of a frozen record into JSON's terms; records in it are left alone."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if not dataclasses.is_dataclass(value):
            object.__setattr__(record, field.name, plain(f"{prefix}{field.name}", value))


def plain(key: str, value: Any) -> Any:
    """A value as JSON would bring it back: numpy's as Python's, paths and dates as text.

    Raises BadInput, with the key of the part that is at fault, for what JSON does not know.
    """
    one = getattr(value, "ndim", None) == 0  # numpy's own: kind M is a date, m a span
    kind = getattr(value.dtype, "kind", "") if one else ""
    if hasattr(value, "tolist") and kind not in ("M", "m"):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):  # JSON has neither
        raise BadInput(key, f"{value!r} is no number", "give a finite one")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, os.PathLike) or kind == "M":
        return str(value)
    if isinstance(value, Mapping):
        return {_name(key, name): plain(f"{key}.{name}", part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(f"{key}[{i}]", part) for i, part in enumerate(value)]
    problem = f"a value of type {type(value).__name__} cannot be written down"
    raise BadInput(key, problem, "use numbers, words, lists and tables")


def _name(key: str, name: Any) -> str:
    if not isinstance(name, str):
        raise BadInput(key, f"{name!r} will not do for a name", "use words")
    return name
