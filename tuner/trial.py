"""A trial as everybody but its worker sees it: a snapshot that cannot touch the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.contract import SEARCH, Claim, Proposal, State


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of a run at one moment; times in seconds, `started` since the epoch.

    Its fields bear the names that a Result's have, and a finished trial is read from there;
    of its `pending` the length.
    """

    number: int
    state: State
    params: Mapping[str, Any]  # the searched ones
    part: str = SEARCH
    value: float | None = None  # in the study's direction
    reason: str = ""  # why FAIL or PRUNED
    seed: int = 0
    curve: Sequence[Mapping[str, Any]] = ()  # one record an epoch: step, metrics, time
    metrics: Mapping[str, float] = field(default_factory=dict)  # of a test part
    started: float | None = None
    seconds: float | None = None
    attempts: int = 0
    lost: tuple[str, ...] = ()  # how the lost attempts ended …
    lost_seconds: float = 0.0  # … what they took together …
    tries: Sequence[Mapping[str, Any]] = ()  # … and where and when each was
    host: str = ""
    device: str = ""
    job: str = ""  # Slurm's job id, or the process of a local worker
    submitted: float = 0.0  # when that was handed to Slurm, and when it began; 0: not known
    began: float = 0.0
    pending: int = 0  # trials whose results the sampler did not know when it proposed this
    origin: str = ""  # "enqueue", or the sampler's name
    of: int | None = None  # the search trial whose params a test part trains

    @property
    def told(self) -> int:
        """How many results the sampler knew when it proposed this."""
        return self.number - self.pending


def counts(trials: Sequence[Trial]) -> dict[State, int]:
    """How many of the trials are in each state."""
    states = [trial.state for trial in trials]
    return {state: states.count(state) for state in State}


def of_proposal(
    proposal: Proposal, state: State, attempts: int, claim: Claim | None, lost: Mapping[str, Any]
) -> Trial:
    """An unfinished trial, with its claim while it is RUNNING; `lost` as a result has it."""
    return Trial(
        number=proposal.number,
        state=state,
        params=proposal.params,
        part=proposal.part,
        seed=proposal.seed,
        attempts=attempts,
        started=claim.time or None if claim else None,
        host=claim.host if claim else "",
        device=claim.device if claim else "",
        job=claim.job if claim else "",
        submitted=claim.submitted if claim else 0.0,
        began=claim.began if claim else 0.0,
        **lost,
        pending=len(proposal.pending),
        origin=proposal.origin,
        of=proposal.of,
    )
