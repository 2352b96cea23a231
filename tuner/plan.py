"""What to do next, from what is known: pure, so that it can be tested with lists."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.contract import SEARCH, State
from jobs.executor import Slots
from jobs.reasons import CANCELLED, NOBODYS_FAULT, OUT_OF_MEMORY
from tuner.pace import UNMEASURED, Pace, stock
from tuner.study import Study
from tuner.trial import Trial

MAX_ATTEMPTS = 10  # at one trial, whatever ended them
MAX_BARREN = 3  # attempts at one trial that did not even write a checkpoint, beyond the first …
MAX_HUNGRY = 1  # … and those among them that wanted more memory than there was


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions of one tick, in the order in which they are taken."""

    propose: int = 0  # new points to ask the sampler for
    parts: tuple[str, ...] = ()  # of the winner, to be trained after the search
    submit: int = 0  # new workers
    finished: bool = False  # nothing is left to do


def plan(
    study: Study,
    trials: Sequence[Trial],
    slots: Slots | None,
    parts: Sequence[str],
    capacity: int,
    *,
    pace: Pace = UNMEASURED,
) -> Plan:
    """Fill the slots, keep the stock of waiting trials shallow, and end with the winner's parts.

    `parts` are those that the data set has for a winner. Without an answer about slots nothing is
    submitted: a job too many costs a GPU.
    """
    search = [trial for trial in trials if trial.part == SEARCH]
    unfinished = sum(not trial.state.finished for trial in trials)
    workers, left = min(study.jobs.n_workers, capacity), study.n_trials - len(search)
    propose = max(0, min(left, _room(study, trials, slots, workers, pace) - unfinished))
    due = _parts_due(study, trials, parts)
    wanted = min(workers, unfinished + max(0, left) + len(due))
    submit = 0 if slots is None else max(0, wanted - slots.workers)
    return Plan(propose, due, submit, left <= 0 and not unfinished and not due)


def _room(
    study: Study, trials: Sequence[Trial], slots: Slots | None, workers: int, pace: Pace
) -> int:
    """How many trials may be unfinished: one a worker at work, and the stock.

    A job that waits in the queue, perhaps for hours, gets its point when it starts, so that the
    point is a fresh one; only the first points depend on no result, and wait for it.
    """
    running = sum(trial.state is State.RUNNING for trial in trials)
    at_work = 0 if slots is None else min(workers, slots.workers - slots.queued)
    deep = stock(workers, pace)
    first = study.n_initial - sum(t.state.finished for t in trials if t.part == SEARCH)
    return max(max(running, at_work) + deep, min(workers + deep, first))


def best(study: Study, trials: Sequence[Trial]) -> Trial | None:
    """The best complete trial of the search; None before there is one with a finite value.

    Of equal ones, as accuracies often are, the one that reported the lowest `loss`, then the
    earliest.
    """
    done = [(value, t) for t in trials if math.isfinite(value := loss(study, t))]
    lowest = min((value for value, _ in done), default=math.nan)
    level = [trial for value, trial in done if value == lowest]
    if len(level) == 1:
        return level[0]
    return min(level, key=lambda trial: (_lowest_reported(trial), trial.number), default=None)


def loss(study: Study, trial: Trial) -> float:
    """What is to be minimised; NaN unless the trial is a complete one of the search."""
    if trial.state is not State.COMPLETE or trial.part != SEARCH or trial.value is None:
        return math.nan
    return study.sign * trial.value


def used_up(attempts: Sequence[tuple[str, bool]]) -> bool:
    """Whether a trial may not be tried again, by how its attempts ended and whether they saved.

    The same point would want the same memory again, so that is tried once more only; a lost node
    or a preemption is nobody's fault; and what its user cancelled is not wanted.
    """
    barren = [why for why, saved in attempts if not saved and why not in NOBODYS_FAULT]
    return (
        len(attempts) >= MAX_ATTEMPTS
        or len(barren) > MAX_BARREN
        or barren.count(OUT_OF_MEMORY) > MAX_HUNGRY
        or CANCELLED in [why for why, _ in attempts]
    )


def _parts_due(study: Study, trials: Sequence[Trial], parts: Sequence[str]) -> tuple[str, ...]:
    """The winner's parts that were never proposed, once the search is over."""
    search = [trial for trial in trials if trial.part == SEARCH]
    if len(search) < study.n_trials or not all(trial.state.finished for trial in search):
        return ()
    won = best(study, trials)
    if won is None:
        return ()
    have = {trial.part for trial in trials if trial.of == won.number}
    return tuple(part for part in parts if part not in have)


def _lowest_reported(trial: Trial) -> float:
    losses = (epoch.get("loss") for epoch in trial.curve)
    return min((value for value in losses if value is not None), default=math.inf)
