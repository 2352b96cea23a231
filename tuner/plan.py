"""What to do next, from what is known: pure, so that it can be tested with lists."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.contract import CONFIRM, SEARCH, State
from jobs.executor import Slots
from jobs.reasons import CANCELLED, NOBODYS_FAULT, OUT_OF_MEMORY
from tuner.confirm import Due, runs_due, tests_due, whole_rounds
from tuner.pace import UNMEASURED, Pace, stock
from tuner.study import Study
from tuner.trial import Trial

MAX_ATTEMPTS = 10  # at one trial, whatever ended them
MAX_BARREN = 3  # attempts at one trial that did not even write a checkpoint, beyond the first …
MAX_HUNGRY = 1  # … and those among them that wanted more memory than there was
_MANY = 10**9  # more trials than any study has


@dataclass(frozen=True, slots=True)
class Afford:
    """How many trials of the search, and of what follows it, the budget still lets begin."""

    trials: float = math.inf  # those among them that wait to be claimed
    runs: float = math.inf  # with fresh seeds
    parts: float = math.inf


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions of one tick, in the order in which they are taken."""

    hold: range = range(0)  # numbers that nobody may claim: the budget does not reach for them
    propose: int = 0  # new points to ask the sampler for
    due: tuple[Due, ...] = ()  # after the search: fresh seeds of the best, or the winner's parts
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
    afford: Afford = Afford(),
) -> Plan:
    """Fill the slots, keep the stock of waiting trials shallow; confirm, and test the winner.

    `parts` are those that the data set has for a winner. Without an answer about slots nothing is
    submitted: a job too many costs a GPU.
    """
    asked = len([1 for trial in trials if trial.part == SEARCH])
    open_ = [trial for trial in trials if not trial.state.finished]
    finished = asked - sum(trial.part == SEARCH for trial in open_)
    hold = _hold(open_, afford)
    open_ = [trial for trial in open_ if trial.number not in hold]
    search = [trial for trial in open_ if trial.part == SEARCH]
    waiting = sum(trial.state is State.WAITING for trial in search)
    left = max(0, min(study.n_trials - asked, _whole(afford.trials) - waiting))
    workers = min(study.jobs.n_workers, capacity)
    running = sum(trial.state is State.RUNNING for trial in open_)
    room = _room(study.n_initial - finished, running, slots, workers, pace)
    propose = max(0, min(left, room - len(open_)))
    searched = asked >= study.n_trials or afford.trials < 1
    over = searched and not search
    due = _due(study, trials, open_, parts, afford) if over else ()
    wanted = min(workers, len(open_) + left + len(due))
    submit = 0 if slots is None else max(0, wanted - slots.workers)
    return Plan(hold, propose, due, submit, searched and not open_ and not due)


def _room(first: int, running: int, slots: Slots | None, workers: int, pace: Pace) -> int:
    """How many trials may be unfinished: one a worker at work, and the stock.

    A job that waits in the queue, perhaps for hours, gets its point when it starts, so that the
    point is a fresh one; only the first points depend on no result, and wait for it.
    """
    if slots is not None and slots.workers > workers:
        return workers  # somebody asked for fewer: the surplus finds nothing, and leaves
    at_work = 0 if slots is None else min(workers, slots.workers - slots.queued)
    deep = stock(workers, pace)
    return max(max(running, at_work) + deep, min(workers + deep, first))


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


def _hold(unfinished: Sequence[Trial], afford: Afford) -> range:
    """The waiting trials that the budget does not reach for: all of them from a number on."""
    search = [trial for trial in unfinished if trial.part == SEARCH]
    waiting = [trial.number for trial in search if trial.state is State.WAITING]
    beyond = waiting[_whole(afford.trials) :]
    return range(beyond[0], beyond[-1] + 1) if beyond else range(0)


def _whole(times: float) -> int:
    """How often something may be done; a great number where nothing forbids it."""
    return int(min(max(0.0, times), float(_MANY)))


def _due(
    study: Study, trials: Sequence[Trial], open_: Sequence[Trial], parts: Sequence[str], can: Afford
) -> tuple[Due, ...]:
    """What follows the search: first the runs with fresh seeds, and once they ended the tests."""
    again = whole_rounds(runs_due(study, trials), _whole(can.runs))
    if again or any(trial.part.startswith(CONFIRM) for trial in open_):
        return tuple(again)
    return tuple(tests_due(study, trials, parts)[: _whole(can.parts)])
