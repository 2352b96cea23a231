"""How much of a search its sampler knew: when a point was asked for, and when it was trained."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tuner.study import Study
from tuner.trial import Trial


@dataclass(frozen=True, slots=True)
class Known:
    """Of the trials before a point, the mean share with a result at these moments."""

    when_asked: float  # the sampler had them
    when_trained: float  # they were there when its training began


def known(study: Study, trials: Sequence[Trial]) -> Known | None:
    """Means over the sampler's points after the first `n_initial`; None before one has begun."""
    there = there_at_start(trials)
    learned = [
        t for t in trials
        if t.origin == study.sampler and t.number >= max(1, study.n_initial) and t.number in there
    ]  # fmt: skip
    if not learned:
        return None
    return Known(
        fmean(trial.told / trial.number for trial in learned),
        fmean(there[trial.number] / trial.number for trial in learned),
    )


def there_at_start(trials: Sequence[Trial]) -> dict[int, int]:
    """Number → how many of the trials before it had a result when its training began.

    By the clocks of the workers' hosts; never fewer than were told.
    """
    # At the same moment a result comes before a start.
    told = {t.number: t.told for t in trials}
    began = [(t.started, t.seconds or 0.0, t.number) for t in trials if t.started is not None]
    ends = [(start + seconds, False, number) for start, seconds, number in began]
    starts = [(start, True, number) for start, _, number in began]
    finished: list[int] = []
    there: dict[int, int] = {}
    for _, starting, number in sorted(ends + starts):
        if starting:
            there[number] = max(told[number], bisect_left(finished, number))
        else:
            insort(finished, number)
    return there
