"""Samplers: where to look next, given what is known. Each is one call without a memory."""

import hashlib
import importlib
from collections.abc import Sequence
from typing import Any, Protocol

from tuner.space import BadInput, Space
from tuner.trial import Trial

NAMES = ("gp", "tpe", "mtpe", "skopt", "random", "external")


class Sampler(Protocol):
    """Asking is the call, and telling is its argument."""

    def __call__(
        self, space: Space, trials: Sequence[Trial], n: int, seed: int, n_initial: int
    ) -> list[dict[str, Any]]:
        """The next `n` points, to follow `trials` (a search's, in order, finished or not).

        Values are losses: less is better. The same arguments give the same points, and `n` at
        once are the same as one after the other with the earlier ones WAITING.
        """


def get(name: str) -> Sampler:
    """The sampler of a name, its engine imported now; raises BadInput for an unknown name."""
    check(name)
    sampler: Sampler = importlib.import_module(f"tuner.samplers.{name}").suggest
    return sampler


def check(name: str) -> None:
    """Raise BadInput for an unknown sampler."""
    if name not in NAMES:
        raise BadInput("sampler", f"{name!r} is unknown", f"known: {', '.join(NAMES)}")


def point_seed(seed: int, number: int) -> int:
    """The seed of a point: a hash, so that neighbours share nothing; fits 32 bits."""
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
