"""What passes between the rooms: the records of a run, the states of a trial, a view of them.

The state of a trial is which files exist (a proposal alone: WAITING; a claim without its `lost`:
RUNNING; a result: COMPLETE, PRUNED or FAIL, for ever):

    open/000012.proposal.json       done/000/000012.result.json
    open/000012.1.claim.json        open/000012.1.lost.json
    open/000012.1.metrics.jsonl     open/000012.1.checkpoint.pt
    done/010000.packed.jsonl: the results of trials 0 … 9999 of a run that was packed
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

SEARCH = "search"  # the part of a trial that the sampler asked for; others serve the winner
ENQUEUED, BY_HAND = "enqueue", "by hand"  # origins of points that no sampler asked for
CONFIRM = "confirm:"  # with which fresh seed: the part of one of the best, trained again
SHARD = 1000  # results a folder of done/
NOTE = "submission.json"  # in jobs/*/, with the submission: when, and for a process which
SUBMITTED = "submitted.json"  # Slurm said that it took the submission
SIGN = "controller.json"  # by the controller, at every look: how it is doing …
ALIVE_WITHIN = 60.0  # … and so many seconds later the next one, or what `within` in it says
LEFT = "left"  # in its last one: when it ended, whatever ended it
HOLD = "hold.json"  # by the controller: waiting trials that the budget does not reach for
FULL = "trials_per_job"  # how a worker ended whose job has trained what it was to
READY, END = ".ready.json", ".end.json"  # by each worker: its slot works; how it ended


class State(StrEnum):
    """The state of a trial, in Optuna's words; a job's states are Slurm's and never mix with it.

    WAITING ──claim──▶ RUNNING ──result──▶ COMPLETE | PRUNED | FAIL
       ▲──────lost────────┘
    """

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"

    def __init__(self, word: str) -> None:
        self.finished = word in ("COMPLETE", "PRUNED", "FAIL")  # whether the trial has its result


def at_work(sign: Mapping[str, Any], age: float) -> bool:
    """Whether the controller of a sign of life, so many seconds old, is still there."""
    return bool(sign) and LEFT not in sign and age < float(sign.get("within", ALIVE_WITHIN))


def trains_the_search(part: str) -> bool:
    """Whether a trial trains what the search trains, and meets no test part."""
    return part == SEARCH or part.startswith(CONFIRM)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A point to train, written by the controller."""

    number: int
    params: Mapping[str, Any]  # the searched ones
    seed: int
    origin: str  # "enqueue", the sampler's name, or the part's
    part: str = SEARCH
    of: int | None = None  # of what follows the search: the trial that it trains again or tests
    pending: tuple[int, ...] = ()  # unfinished when this was asked; all other lower ones were told
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's word that it trains an attempt at a trial."""

    number: int
    attempt: int
    job: str  # Slurm's job id with array task, or process id and start time
    restart: int = 0  # Slurm's restart count: tells a requeued twin from its first copy
    submission: str = ""  # folder of jobs/
    host: str = ""
    device: str = ""
    pid: int = 0
    time: float = 0.0
    submitted: float = 0.0  # when the job was handed to Slurm …
    began: float = 0.0  # … and when it began; 0 where nobody knows


@dataclass(frozen=True, slots=True)
class Lost:
    """The end of an attempt without a result; its trial waits again."""

    number: int
    attempt: int
    reason: str  # Slurm's word where there is one
    by: Literal["controller", "worker"]
    time: float = 0.0
    seconds: float = 0.0  # from its claim to its last sign of life


@dataclass(frozen=True, slots=True)
class Result:
    """The one accepted outcome of a trial."""

    number: int
    state: State
    params: Mapping[str, Any]
    part: str = SEARCH
    value: float | None = None
    reason: str = ""
    log: str = ""  # the traceback, or the end of the log
    seed: int = 0
    origin: str = ""
    of: int | None = None
    pending: tuple[int, ...] = ()
    curve: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)  # what an outer program wants to keep
    attempts: int = 0
    lost: tuple[str, ...] = ()  # how the attempts before ended …
    lost_seconds: float = 0.0  # … and what they took together
    tries: Sequence[Mapping[str, Any]] = ()  # … and where and when each was: see RunFolder.ended
    started: float | None = None
    seconds: float | None = None
    job: str = ""
    host: str = ""
    device: str = ""
    submitted: float = 0.0  # of the job, as in its claim
    began: float = 0.0

    @classmethod
    def of_attempt(cls, proposal: Proposal, claim: Claim, state: State, **more: Any) -> "Result":
        """The outcome of an attempt at a proposal; `more` are further fields."""
        return cls(
            number=proposal.number,
            state=state,
            params=proposal.params,
            part=proposal.part,
            seed=proposal.seed,
            origin=proposal.origin,
            of=proposal.of,
            pending=proposal.pending,
            attempts=claim.attempt,
            job=claim.job,
            host=claim.host,
            device=claim.device,
            submitted=claim.submitted,
            began=claim.began,
            **more,
        )


@dataclass(frozen=True, slots=True)
class View:
    """What one listing of a run shows; names alone decide."""

    finished: frozenset[int]
    proposed: frozenset[int]
    claims: Mapping[int, int]  # number → newest attempt
    lost: frozenset[tuple[int, int]]  # (number, attempt)
    files: Mapping[int, tuple[str, ...]]  # number → names in open/

    def state(self, number: int) -> State | None:
        """WAITING or RUNNING; None for a number that is finished or not seen."""
        if number in self.finished or number not in self.proposed:
            return None
        attempt = self.claims.get(number, 0)
        waits = attempt == 0 or (number, attempt) in self.lost
        return State.WAITING if waits else State.RUNNING

    def numbers(self, state: State) -> list[int]:
        """The numbers that are WAITING or RUNNING, in order."""
        return sorted(n for n in self.proposed if self.state(n) is state)

    @property
    def size(self) -> int:
        """One more than the highest number seen."""
        return 1 + max(max(self.finished, default=-1), max(self.files, default=-1))

    @property
    def whole(self) -> bool:
        """Whether no number is missing: a gap means that the listing is old."""
        return len(self.finished) + len(self.proposed - self.finished) == self.size

    def holds(self, claim: Claim) -> bool:
        """Whether the claim still is the trial's newest, alive and without a result."""
        return (
            claim.number not in self.finished
            and self.claims.get(claim.number) == claim.attempt
            and (claim.number, claim.attempt) not in self.lost
        )
