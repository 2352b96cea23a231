"""What a run has spent, what on, and what is left: hours of GPUs, or of slots that have none."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from jobs import slurm
from jobs.accounting import Account, Charge, gpus_asked
from jobs.contract import SEARCH, State
from tuner.plan import Afford, best
from tuner.store import Store
from tuner.study import Jobs, Study
from tuner.trial import Trial

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


def spent(study: Study, trials: Sequence[Trial], charge: Charge | None, now: float) -> Spent:
    """What the trials used, each by what became of it, beside what the jobs were charged."""
    parts = dict.fromkeys(("complete", "pruned", "failed", LOST, "running", TESTING), 0.0)
    for trial in trials:
        share = _share(study.jobs, trial)
        parts[LOST] += share * trial.lost_seconds
        if trial.state is not State.WAITING:
            kind = _KINDS[trial.state] if trial.part == SEARCH else TESTING
            parts[kind] += share * _seconds(trial, now)
    gpus = bool(gpus_asked(study.jobs.slurm)) or any(trial.device for trial in trials)
    if charge is None:
        return Spent(parts, None, gpus)
    return Spent(parts, charge.hours, charge.gpus)


def afford(
    study: Study, trials: Sequence[Trial], use: Spent | None, parts: int, now: float
) -> Afford:
    """What may still begin: what is running is let end, and the winner's `parts` come first.

    A trial is taken to cost the mean of the finished ones and its part of the idle hours; a
    running one to go on as those did that lasted as long, or else as long again.
    """
    if study.gpu_hours is None or use is None:
        return Afford()
    cost = {t.number: _cost(study.jobs, t, now) for t in trials if t.state is not State.WAITING}
    search = [t for t in trials if t.part == SEARCH]
    ended = [cost[t.number] for t in search if t.state.finished]
    running = [cost[t.number] for t in search if t.state is State.RUNNING]
    begun = max(1, len(ended) + len(running))
    each = _mean(ended or [2 * so_far for so_far in running]) + (use.idle or 0.0) / begun
    left = study.gpu_hours - use.total - sum(_rest(so_far, ended) for so_far in running)
    won = best(study, trials)
    of_winner = cost[won.number] if won else each
    tests = [t for t in trials if won and t.of == won.number]
    tested = sum(cost.get(t.number, 0.0) for t in tests)
    # Tests that cost less than was put by leave nothing for the search: its winner is final.
    search_left = left + tested - max(tested, of_winner * parts)
    open_ = [of_winner - cost.get(t.number, 0.0) for t in tests if not t.state.finished]
    parts_left = left - sum(max(0.0, hours) for hours in open_)
    return Afford(_times(search_left, each), _times(parts_left, of_winner))


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
        self._account = (
            Account(slurm.job_name(store.id), gpus_asked(jobs.slurm))
            if jobs.executor == "slurm" else None
        )  # fmt: skip

    def spent(self, trials: Sequence[Trial]) -> Spent:
        """What the run has used until now."""
        charge = self._account.charge(self.store.began()) if self._account else None
        return spent(self.store.study, trials, charge, time.time())


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


def _rest(so_far: float, ended: Sequence[float]) -> float:
    """What a running trial is expected to take yet."""
    longer = [cost - so_far for cost in ended if cost > so_far]
    return _mean(longer) if longer else so_far


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _times(hours: float, each: float) -> float:
    """How often a cost fits; without a known one for as long as anything is left."""
    return hours / each if each > 0 else math.inf if hours > 0 else 0.0
