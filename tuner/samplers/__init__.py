"""Samplers: where to look next, given what is known. Each is one call without a memory."""

import hashlib
import importlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Protocol

from tuner.space import BadInput, Space
from tuner.trial import Trial

NAMES = ("gp", "mtpe", "tpe", "skopt", "random", "external")
_SPREAD = ("gp", "mtpe", "tpe", "skopt")  # those that begin with points spread over the space


class Sampler(Protocol):
    """Asking is the call, and telling is its argument."""

    def __call__(
        self, space: Space, trials: Sequence[Trial], n: int, seed: int, n_initial: int
    ) -> list[dict[str, Any]]:
        """The next `n` points, to follow `trials` (a search's, in order, finished or not).

        Trials of earlier runs come first and have negative numbers.

        Values are losses: less is better. The same arguments give the same points, and `n` at
        once are the same as one after the other with the earlier ones WAITING.
        """


def get(name: str) -> Sampler:
    """The sampler of a name; raises BadInput for an unknown one.

    Its engine takes seconds to import. The points of the start, which know of no result, do
    without: so workers start first.
    """
    check(name)

    def suggest(
        space: Space, trials: Sequence[Trial], n: int, seed: int, n_initial: int
    ) -> list[dict[str, Any]]:
        if name in _SPREAD and not any(trial.state.finished for trial in trials):
            initial = importlib.import_module("tuner.samplers.random").initial
            return list(initial(space, trials, n, seed))
        return load(name)(space, trials, n, seed, n_initial)

    return suggest


def load(name: str) -> Sampler:
    """The sampler itself, its engine imported now."""
    sampler: Sampler = importlib.import_module(f"tuner.samplers.{name}").suggest
    return sampler


def check(name: str) -> None:
    """Raise BadInput for an unknown sampler."""
    if name not in NAMES:
        raise BadInput("sampler", f"{name!r} is unknown", f"known: {', '.join(NAMES)}")


def own(trials: Sequence[Trial]) -> int:
    """How many of the trials are the search's own, which come last: the number of the next one."""
    return len(trials) - bisect_left(trials, 0, key=lambda trial: trial.number)


def point_seed(*numbers: int) -> int:
    """The seed of a point, by the study's seed and its number, and of a fresh run by its k too.

    A hash, so that neighbours share nothing; fits 32 bits.
    """
    digest = hashlib.sha256(":".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:4], "big")
