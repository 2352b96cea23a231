"""How fast a run goes, and what follows: how many points wait, and how often the controller looks.

Late binding: a point that waits grows old, since results come that it did not know; a worker that
waits costs a GPU. So as many points wait as workers are likely to take until the next top-up.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from jobs.contract import SEARCH
from tuner.trial import Trial

_SURE = 1.645  # standard deviations: with 95 % the stock lasts until the next top-up
_START = 4  # workers for each waiting point, before anything is measured
_NEWEST = 20  # finished trials that say how long one takes, and at least two rounds of the workers
_QUICK = 0.25  # seconds between two looks at least


@dataclass(frozen=True, slots=True)
class Pace:
    """What was measured, in seconds; None before it was. A new controller measures again."""

    period: float | None = None  # from one top-up to the next: a pause, the looks, and the asking
    trial: float | None = None  # from a trial's start to its end


UNMEASURED = Pace()


def measured(periods: Sequence[float], trials: Sequence[Trial], workers: int) -> Pace:
    """The pace by the newest periods, and by the newest finished trials of the search."""
    search = (trial for trial in reversed(trials) if trial.part == SEARCH)
    took = (trial.seconds for trial in search if trial.seconds is not None)
    newest = list(islice(took, max(_NEWEST, 2 * workers)))
    return Pace(
        statistics.median(periods) if periods else None,
        statistics.fmean(newest) if newest else None,
    )


def stock(workers: int, pace: Pace) -> int:
    """Points that should wait beside so many busy workers: at least one, one a worker at most.

    Workers claim independently, so the claims of a period are Poisson's: their mean and a margin.
    """
    if pace.period is None or pace.trial is None:
        return max(1, workers // _START)
    claims = workers * pace.period / max(pace.trial, pace.period)
    return max(1, min(workers, math.ceil(claims + _SURE * math.sqrt(claims))))


def pause(longest: float, workers: int, pace: Pace) -> float:
    """Seconds to the next look: the time of about one claim, so that the stock can be shallow.

    A trial costs its worker as many touches of the disk as a look costs the controller.
    """
    if pace.trial is None:
        return longest
    return min(longest, max(_QUICK, pace.trial / workers))
