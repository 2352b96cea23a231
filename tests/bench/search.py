"""One search of a table by an arm, one after the other or several at a time."""

import heapq
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from threadpoolctl import threadpool_limits

from jobs.contract import State
from tests.bench import arms
from tests.bench.arms import N_INITIAL, Arm
from tests.bench.tables import Table
from tuner.samplers import point_seed
from tuner.samplers.random import initial
from tuner.trial import Trial

SLOTS = {"sequential": 1, "parallel": 8}
N_TRIALS = 100
_SPREAD = 0.5  # standard deviation of the logarithm of a training time


@final
@dataclass(frozen=True, slots=True)
class Search:
    """What a search found: the regret of its incumbent after each result, and what asking cost."""

    regrets: tuple[float, ...]
    cpu: float  # seconds, of all asks together
    asks: int


@final
class Clock:
    """Slots that are always full: the pending trials, and which of them ends next.

    A trial's time is log-normal, by the seed and its number, so all arms see the same.
    """

    def __init__(self, seed: int) -> None:
        self.times = np.random.default_rng(seed).lognormal(0.0, _SPREAD, N_TRIALS)
        self.now = 0.0
        self.pending: list[tuple[float, int]] = []  # (end, number), a heap

    def begin(self, number: int) -> None:
        """Trial `number` takes a slot now."""
        heapq.heappush(self.pending, (self.now + self.times[number], number))

    def end(self) -> int:
        """The number of the trial that ends next; it is then."""
        self.now, number = heapq.heappop(self.pending)
        return number


def run(name: str, table: Table, mode: str, seed: int, n_trials: int = N_TRIALS) -> Search:
    """A whole search; equal arguments see equal noise, initial points and training times."""
    own = point_seed(seed, zlib.crc32(table.name.encode()))  # tables are independent
    arm = arms.make(name, table.space, own)
    with threadpool_limits(1):
        return _search(arm, table, SLOTS[mode], own, n_trials)


def _search(arm: Arm, table: Table, slots: int, seed: int, n_trials: int) -> Search:
    noisy, clock = table.noisy(seed), Clock(seed)
    first = initial(table.space, [], N_INITIAL, seed)
    trials: list[Trial] = []
    ended: list[int] = []  # rows of the table, in the order of their ends
    cpu = 0.0
    while len(ended) < n_trials:
        while len(clock.pending) < slots and len(trials) < n_trials:
            began = time.process_time()
            number = len(trials)
            params = first[number] if number < N_INITIAL else arm.ask(tuple(trials))
            cpu += time.process_time() - began
            trials.append(_begun(table, number, params))
            clock.begin(number)
        number = clock.end()
        row = table.index(trials[number].params)
        trials[number] = replace(trials[number], state=State.COMPLETE, value=float(noisy[row]))
        ended.append(row)
    return Search(_incumbents(table, noisy, ended), cpu, n_trials - N_INITIAL)


def _begun(table: Table, number: int, params: Mapping[str, Any]) -> Trial:
    """A trial in work; raises BadInput where an arm left the space."""
    table.space.check(params)
    return Trial(number, State.RUNNING, dict(params))


def _incumbents(table: Table, noisy: np.ndarray, ended: list[int]) -> tuple[float, ...]:
    """After each result, the regret of the lowest value seen: one rule for every arm."""
    seen = noisy[ended]
    lowest = np.minimum.accumulate(seen)
    first = [int(np.argmax(seen == value)) for value in lowest]  # the earliest of equals
    regrets = table.regrets()[ended]
    return tuple(regrets[first].tolist())
