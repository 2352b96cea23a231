"""How a length of time is said, on a screen and on the page."""


def duration(seconds: float) -> str:
    """A length of time in the unit that people would use."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"
