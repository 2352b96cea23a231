"""What a table or a value has to be: each raises BadInput with the key, the problem, the remedy."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.inputs import BadInput


def known_keys(kind: type[Any], table: Mapping[str, Any], prefix: str = "") -> None:
    """A table has no keys but the fields of a record."""
    known = [f.name for f in dataclasses.fields(kind)]
    for key in table:
        if key not in known:
            raise BadInput(f"{prefix}{key}", "unknown key", f"known here: {', '.join(known)}")


def table(key: str, value: Any) -> None:
    """A value is a table."""
    if not isinstance(value, Mapping):
        raise BadInput(key, "is no table", f"write [{key}] with its keys below")


def record(key: str, value: Any, kind: type[Any]) -> None:
    """A value is a record of a kind."""
    if not isinstance(value, kind):
        problem = f"a {type(value).__name__} is no {kind.__name__}"
        raise BadInput(key, problem, f"write {key}={kind.__name__}(...)")


def one_of(key: str, value: Any, known: Sequence[str]) -> None:
    """A value is one of some words."""
    if value not in known:
        raise BadInput(key, f"{value!r} is unknown", f"known: {', '.join(known)}")


def whole(key: str, value: Any, least: int) -> None:
    """A value is a whole number of at least so much."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(key, f"{value!r} will not do", f"give a whole number of at least {least}")


def amount(key: str, value: Any, unit: str) -> None:
    """A value is None, or a number of a unit that is not negative."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and value >= 0):
        raise BadInput(key, f"{value!r} will not do", f"give a number of {unit}")
