"""What a run has spent, and what on: hours of GPUs, or of slots that have none."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from jobs import slurm
from jobs.accounting import Account, Charge, gpus_asked
from jobs.contract import CONFIRM, SEARCH, State
from tuner.settings import Jobs
from tuner.store import Store
from tuner.study import Study
from tuner.trial import Trial
from tuner.units import amount

IDLE, LOST = "start-up and idle", "lost attempts"
CONFIRMING, TESTING = "confirming", "testing the winner"
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
        kinds = ("complete", "pruned", "failed", LOST, "running", CONFIRMING, TESTING)
        self.parts = dict.fromkeys(kinds, 0.0)
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
                self.ended.append(cost(jobs, trial, 0.0))


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


def cost(jobs: Jobs, trial: Trial, now: float) -> float:
    """Hours that a trial has used, its lost attempts included."""
    return _share(jobs, trial) * (_seconds(trial, now) + trial.lost_seconds)


def spent_lines(table: Mapping[str, Any], budget: float | None) -> list[str]:
    """A table of what was spent, as text."""
    of = "" if budget is None else f" of {budget:g}"
    text = [f"Spent {amount(table['total'], 4)}{of} {table['unit']}, by {table['by']}"]
    rows = {name: hours for name, hours in table["on"].items() if hours}
    text += [f"  {name:<20}{amount(hours, 4):>12}" for name, hours in rows.items()]
    if table["on"][IDLE] is None:
        text.append(f"  {IDLE:<20}{'?':>12}  (counted by Slurm's accounting alone)")
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
        parts[_kind(trial)] += share * _seconds(trial, now)


def _kind(trial: Trial) -> str:
    if trial.part == SEARCH:
        return _KINDS[trial.state]
    return CONFIRMING if trial.part.startswith(CONFIRM) else TESTING


def _seconds(trial: Trial, now: float) -> float:
    if trial.state is State.RUNNING:
        return 0.0 if trial.started is None else max(0.0, now - trial.started)
    return trial.seconds or 0.0


def _share(jobs: Jobs, trial: Trial) -> float:
    """Hours that a second of a worker costs: its part of a job's GPUs, or a slot."""
    if jobs.executor == "slurm":
        return (gpus_asked(jobs.slurm) or 1) / jobs.workers_per_gpu / 3600
    return (1 / jobs.workers_per_gpu if trial.device else 1.0) / 3600
