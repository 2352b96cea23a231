"""What a run has spent, what on, and what is left: hours of GPUs, or of slots that have none."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from jobs import slurm
from jobs.accounting import Account, Charge, gpus_asked
from jobs.contract import SEARCH, State
from tuner.plan import Afford, best
from tuner.settings import Jobs
from tuner.store import Store
from tuner.study import Study
from tuner.trial import Trial

Costs = NDArray[np.float64]
IDLE, LOST, TESTING = "start-up and idle", "lost attempts", "testing the winner"
_KINDS = {
    State.COMPLETE: "complete",
    State.PRUNED: "pruned",
    State.FAIL: "failed",
    State.RUNNING: "running",
}


@dataclass(frozen=True, slots=True)
class Spent:
    """Hours by what they went to, each by its trials' own clocks; `charged` is Slurm's word."""

    parts: Mapping[str, float]
    charged: float | None  # None: nobody keeps accounts
    gpus: bool
    ended: Sequence[float] = ()  # what each finished trial of the search cost

    @property
    def total(self) -> float:
        """All of it; accounting lags, and where there is none nobody counts idle workers."""
        return max(self.charged or 0.0, sum(self.parts.values()))

    @property
    def idle(self) -> float | None:
        """Hours of start-up and of waiting for a trial; None where nobody counts them."""
        return None if self.charged is None else self.total - sum(self.parts.values())

    @property
    def unit(self) -> str:
        """What is counted."""
        return "GPU-hours" if self.gpus else "slot-hours"

    def table(self) -> dict[str, Any]:
        """The same for programs."""
        by = "the trials' own clocks" if self.charged is None else "Slurm's accounting"
        rows = {**self.parts, IDLE: self.idle}
        return {"total": self.total, "unit": self.unit, "by": by, "on": rows}


@final
class Past:
    """What finished trials used: that never changes, so each is counted once."""

    def __init__(self) -> None:
        self.parts = dict.fromkeys(("complete", "pruned", "failed", LOST, "running", TESTING), 0.0)
        self.ended: list[float] = []
        self.gpus = False
        self._seen: set[int] = set()

    def count(self, jobs: Jobs, trials: Sequence[Trial]) -> None:
        """Count those that are new."""
        seen = self._seen
        for trial in [t for t in trials if t.state.finished and t.number not in seen]:
            seen.add(trial.number)
            _add(self.parts, jobs, trial, 0.0)
            self.gpus = self.gpus or bool(trial.device)
            if trial.part == SEARCH:
                self.ended.append(_cost(jobs, trial, 0.0))


def spent(
    study: Study, trials: Sequence[Trial], charge: Charge | None, now: float, past: Past
) -> Spent:
    """What the trials used, each by what became of it, beside what the jobs were charged.

    Side effect: new finished trials are counted into the past.
    """
    past.count(study.jobs, trials)
    parts, open_ = dict(past.parts), [t for t in trials if not t.state.finished]
    for trial in open_:
        _add(parts, study.jobs, trial, now)
    if charge is not None:
        return Spent(parts, charge.hours, charge.gpus, past.ended)
    asked = study.jobs.executor == "slurm" and bool(gpus_asked(study.jobs.slurm))
    gpus = asked or past.gpus or any(trial.device for trial in open_)
    return Spent(parts, None, gpus, past.ended)


def afford(
    study: Study, trials: Sequence[Trial], use: Spent | None, parts: int, now: float
) -> Afford:
    """What may still begin: what is running is let end, and the winner's `parts` come first.

    A trial is taken to cost the mean of the finished ones and its part of the idle hours; a
    running one to go on as those did that lasted as long, or else as long again.
    """
    if study.gpu_hours is None or use is None:
        return Afford()
    jobs, ended = study.jobs, np.sort(np.asarray(use.ended, float))
    open_ = [t for t in trials if t.part == SEARCH and not t.state.finished]
    running = [_cost(jobs, t, now) for t in open_ if t.state is State.RUNNING]
    begun = max(1, len(ended) + len(running))
    mean = float(ended.mean()) if len(ended) else 2 * sum(running) / begun
    each = mean + (use.idle or 0.0) / begun
    left = study.gpu_hours - use.total - _rest(np.array(running), ended)
    won = best(study, trials)
    of_winner = _cost(jobs, won, now) if won else each
    tests = [t for t in trials if won and t.of == won.number]
    so_far = [_cost(jobs, t, now) for t in tests if t.state is not State.WAITING]
    # Tests that cost less than was put by leave nothing for the search: its winner is final.
    search_left = left + sum(so_far) - max(sum(so_far), of_winner * parts)
    goes_on = [max(0.0, of_winner - _cost(jobs, t, now)) for t in tests if not t.state.finished]
    return Afford(_times(search_left, each), _times(left - sum(goes_on), of_winner))


def spent_lines(table: Mapping[str, Any], budget: float | None) -> list[str]:
    """A table of what was spent, as text."""
    of = "" if budget is None else f" of {budget:g}"
    text = [f"Spent {table['total']:.4g}{of} {table['unit']}, by {table['by']}"]
    rows = {name: hours for name, hours in table["on"].items() if hours}
    text += [f"  {name:<20}{hours:>10.4g}" for name, hours in rows.items()]
    if table["on"][IDLE] is None:
        text.append(f"  {IDLE:<20}{'?':>10}  (counted by Slurm's accounting alone)")
    return text


def held_lines(held: int) -> list[str]:
    """That the budget ended a search, and how it could go on."""
    if not held:
        return []
    return [f"{held} proposed trials wait beyond the budget: with a larger gpu_hours they go on"]


@final
class Ledger:
    """Counts what a run spends; on Slurm with the bill of its accounting."""

    def __init__(self, store: Store) -> None:
        jobs = store.study.jobs
        self.store = store
        self._past = Past()
        self._account = (
            Account(slurm.job_name(store.id), gpus_asked(jobs.slurm))
            if jobs.executor == "slurm" else None
        )  # fmt: skip

    def spent(self, trials: Sequence[Trial]) -> Spent:
        """What the run has used until now."""
        charge = self._account.charge(self.store.began()) if self._account else None
        return spent(self.store.study, trials, charge, time.time(), self._past)


def _add(parts: dict[str, float], jobs: Jobs, trial: Trial, now: float) -> None:
    share = _share(jobs, trial)
    parts[LOST] += share * trial.lost_seconds
    if trial.state is not State.WAITING:
        parts[_KINDS[trial.state] if trial.part == SEARCH else TESTING] += share * _seconds(
            trial, now
        )


def _cost(jobs: Jobs, trial: Trial, now: float) -> float:
    return _share(jobs, trial) * (_seconds(trial, now) + trial.lost_seconds)


def _seconds(trial: Trial, now: float) -> float:
    if trial.state is State.RUNNING:
        return 0.0 if trial.started is None else max(0.0, now - trial.started)
    return trial.seconds or 0.0


def _share(jobs: Jobs, trial: Trial) -> float:
    """Hours that a second of a worker costs: its part of a job's GPUs, or a slot."""
    if jobs.executor == "slurm":
        return (gpus_asked(jobs.slurm) or 1) / jobs.workers_per_gpu / 3600
    return (1 / jobs.workers_per_gpu if trial.device else 1.0) / 3600


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
