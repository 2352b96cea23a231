"""What passes between a training function and who runs it; without torch, which not all need."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

State = dict[str, Any]


class Stop(BaseException):
    """Raised by `report` or `save` where a trial must end: pruned, fenced, or out of time.

    No error, and not to be caught by training code, nor by its `except Exception`.
    """


class Report(Protocol):
    """Records one epoch, from step 0; may raise Stop."""

    def __call__(self, step: int, **metrics: float) -> None:
        """Metrics are in real units."""
        ...


class Checkpoint(Protocol):
    """Where a trial's state survives its process."""

    def load(self) -> State | None:
        """The newest state, None at a first start."""
        ...

    def save(self, step: int, state: Callable[[], State], last: bool = False) -> None:
        """Write `state()` if it is time, and always when `last`; may raise Stop."""
        ...


class Scratch(Protocol):
    """Where data larger than memory are prepared once, for all processes that can see the place."""

    def __call__(self, name: str, pieces: Callable[[], Iterable[tuple[str, bytes]]]) -> Path:
        """The folder `name` with its files; `pieces()` are their contents, piece after piece.

        Raises OSError where the disk refuses.
        """
        ...
