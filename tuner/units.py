"""How lengths of time are said, on a screen and on the page: never with a power of ten."""


def duration(seconds: float) -> str:
    """A length of time in the unit that people would use."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{amount(seconds / size)} {unit}"
    return f"{amount(seconds, 2)} s"


def amount(hours: float, digits: int = 3) -> str:
    """A number of hours, or of another unit, with so many digits that mean something."""
    least = 0.001
    if 0 < hours < least:
        return f"under {least:g}"
    return f"{hours:.0f}" if hours >= 10 ** (digits - 1) else f"{hours:.{digits}g}"
