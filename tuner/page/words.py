"""Numbers, times and foreign words as a reader wants them."""

import math
import re
import time
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from tuner import units

# Control characters, and those that turn the direction of what is written around them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
_MARK = "\N{REPLACEMENT CHARACTER}"
_DASH = "–"
_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def visible(text: Any) -> Any:
    """The same text without what could reorder or hide the words beside it; markup as it is."""
    if text is None:
        return _DASH
    if isinstance(text, Markup) or not isinstance(text, str):
        return text
    return _UNSEEN.sub(_MARK, text)


def cut(text: Any, length: int = 24) -> str:
    """A visible text of at most `length` characters."""
    shown = str(visible(str(text)))
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def number(value: Any, digits: int = 4) -> str:
    """A number with so many digits that mean something; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return _DASH
    if isinstance(value, int):
        return (
            f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
            if abs(value) >= 1e4
            else str(value)
        )
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
        short = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{short}e{int(exponent)}".replace("-", "−")
    shown = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return shown.replace("-", "−")


def uncertain(value: float, error: float) -> str:
    """A number with as many decimals as its error has with two digits; alone where it has none."""
    if not math.isfinite(error) or not 1e-6 < error < 1e4:
        return number(value, 5)
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}".replace("-", "−")


def value(given: Any) -> str:
    """A parameter's value."""
    if isinstance(given, bool):
        return str(given).lower()
    return number(given) if isinstance(given, (int, float)) else str(given)


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them."""
    if seconds is None or not math.isfinite(seconds):
        return _DASH
    return units.duration(seconds).replace(" ", "\N{NO-BREAK SPACE}")


def span_unit(seconds: float) -> tuple[str, float]:
    """The unit of an axis of time, by its name and in seconds."""
    names = {"d": "days", "h": "hours", "min": "minutes", "s": "seconds"}
    unit, size = next((u for u in _UNITS if seconds > 3 * u[1]), _UNITS[-1])
    return names[unit], size


def moment(at: float | None) -> str:
    """A time in UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)) if at else _DASH


def count(n: int, noun: str) -> str:
    """So many of something."""
    return f"{number(n)} {noun}{'' if n == 1 else 's'}"


def listing(words: Iterable[str]) -> str:
    """Words with commas."""
    return ", ".join(words)
