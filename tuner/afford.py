"""What a budget still lets begin, given what is expected to be spent on what has begun."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.contract import SEARCH, State
from tuner import confirm
from tuner.budget import Spent, cost
from tuner.plan import Afford
from tuner.settings import Jobs
from tuner.study import Study
from tuner.trial import Trial

Costs = NDArray[np.float64]
SHARE = 0.25  # of a budget, which runs with fresh seeds may use at most: the search comes first


@dataclass(frozen=True, slots=True)
class _PutBy:
    """Hours for what follows the search: `ahead` of what it used, and what is to end yet.

    What costs less than was put by leaves nothing for the search: its winner is final then.
    """

    used: float
    ahead: float
    open: float

    @classmethod
    def of(
        cls, jobs: Jobs, trials: Sequence[Trial], by: float, each: float, now: float
    ) -> "_PutBy":
        used = sum(cost(jobs, t, now) for t in trials if t.state is not State.WAITING)
        open_ = [t for t in trials if not t.state.finished]
        goes_on = sum(max(0.0, each - cost(jobs, t, now)) for t in open_)
        return cls(used, max(used, by) - used, goes_on)


def afford(
    study: Study, trials: Sequence[Trial], use: Spent | None, parts: Sequence[str], now: float,
    *, resumes: bool = False,
) -> Afford:  # fmt: skip
    """What may still begin: what is running is let end, and what follows the search comes first.

    A trial is taken to cost the mean of the finished ones and its part of the idle hours; a
    running one to go on as those did that lasted as long, or else as long again. Fresh seeds cost
    what their candidates did, and get a quarter of the budget at most. The winner's `parts` are
    trainings, one for each seed that meets the test; where such a one `resumes` the finished
    checkpoint they are one in all, in case that is lost.
    """
    if study.gpu_hours is None or use is None:
        return Afford()
    jobs, ended = study.jobs, np.sort(np.asarray(use.ended, float))
    open_ = [t for t in trials if t.part == SEARCH and not t.state.finished]
    running = [cost(jobs, t, now) for t in open_ if t.state is State.RUNNING]
    begun = max(1, len(ended) + len(running))
    mean = float(ended.mean()) if len(ended) else 2 * sum(running) / begun
    each = mean + (use.idle or 0.0) / begun
    left = study.gpu_hours - use.total - _rest(np.array(running), ended)
    again, run = _confirming(study, trials, each, now)
    tests, part = _testing(study, trials, _trainings(study, parts, resumes), each, now)
    left_for_runs = min(
        SHARE * study.gpu_hours - again.used - again.open, left - tests.ahead - again.open
    )
    return Afford(
        trials=_times(left - tests.ahead - again.ahead, each),
        runs=_times(left_for_runs, run),
        parts=_times(left - again.open - tests.open, part),
    )


def _confirming(
    study: Study, trials: Sequence[Trial], each: float, now: float
) -> tuple[_PutBy, float]:
    """What is put by for fresh seeds, and what one of them is expected to cost."""
    chosen, runs = confirm.candidates(study, trials), confirm.runs_of(trials)
    costs = [cost(study.jobs, t, now) for t in chosen]
    one = sum(costs) / len(costs) if costs else each
    now_chosen = {t.number for t in chosen}
    others = sum(cost(study.jobs, t, now) for t in runs if t.of not in now_chosen)
    by = others
    if study.confirm and one > 0:  # whole rounds, since less than one would not be begun
        a_round = study.confirm.top * one
        rounds = (SHARE * (study.gpu_hours or 0.0) - others) // a_round
        by += a_round * max(0.0, min(rounds, study.confirm.seeds))
    return _PutBy.of(study.jobs, runs, by, one, now), one


def _trainings(study: Study, parts: Sequence[str], resumes: bool) -> tuple[int, float]:
    """How many proposals the winner's parts are, and which share of a training each costs."""
    seeds = study.confirm.seeds if study.confirm and parts else 1
    return len(parts) + seeds - 1, 1 / seeds if resumes else 1.0


def _testing(
    study: Study, trials: Sequence[Trial], parts: tuple[int, float], each: float, now: float
) -> tuple[_PutBy, float]:
    """What is put by for the winner's parts, and what one of them is expected to cost."""
    n, share = parts
    won = confirm.winner(study, trials)
    one = share * (cost(study.jobs, won, now) if won else each)
    held = [t for of_part in confirm.tests(study, trials).values() for t in of_part]
    return _PutBy.of(study.jobs, held, n * one, one, now), one


def _rest(running: Costs, ended: Costs) -> float:
    """What running trials are expected to take yet, from what each took so far.

    `ended` are the costs of finished ones, sorted.
    """
    if not len(running):
        return 0.0
    longer = len(ended) - np.searchsorted(ended, running, side="right")  # (running,)
    sums = np.append(np.cumsum(ended[::-1])[::-1], 0.0)[len(ended) - longer]
    rest = np.where(longer > 0, sums / np.maximum(longer, 1) - running, running)
    return float(rest.sum())


def _times(hours: float, each: float) -> float:
    """How often a cost fits; without a known one for as long as anything is left."""
    return hours / each if each > 0 else math.inf if hours > 0 else 0.0
