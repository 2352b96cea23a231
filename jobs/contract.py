"""What passes between the rooms: the names of a run's files, their records, and `look()`.

The state of a trial is which files exist (a proposal alone: WAITING; a claim without its `lost`:
RUNNING; a result: COMPLETE, PRUNED or FAIL, for ever):

    open/000012.proposal.json       done/000/000012.result.json
    open/000012.1.claim.json        open/000012.1.lost.json
    open/000012.1.metrics.jsonl     open/000012.1.checkpoint.pt
    done/010000.packed.jsonl: the results of trials 0 … 9999 of a run that was packed
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar, final

from jobs import archive, files
from jobs.archive import Archives

SEARCH = "search"  # the part of a trial that the sampler asked for; others serve the winner
SHARD = 1000  # results a folder of done/
NOTE = "submission.json"  # in jobs/*/, with the submission: when, and for a process which
SUBMITTED = "submitted.json"  # Slurm said that it took the submission
HOLD = "hold.json"  # by the controller: waiting trials that the budget does not reach for
FULL = "trials_per_job"  # how a worker ended whose job has trained what it was to
READY, END = ".ready.json", ".end.json"  # by each worker: its slot works; how it ended
_OPEN = re.compile(r"(\d{6,})\.(?:(\d+)\.)?(proposal|claim|lost|metrics|checkpoint)\.(?:jsonl?|pt)")
_DONE = re.compile(r"(\d{6,})\.result\.json")
Record = TypeVar("Record")


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


@dataclass(frozen=True, slots=True)
class Proposal:
    """A point to train, written by the controller."""

    number: int
    params: Mapping[str, Any]  # the searched ones
    seed: int
    origin: str  # "enqueue", the sampler's name, or the part's
    part: str = SEARCH
    of: int | None = None  # for the winner's parts: the number of the search trial
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
    started: float | None = None
    seconds: float | None = None
    job: str = ""
    host: str = ""
    device: str = ""

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


@final
class RunFolder:
    """The files of one run, and the only way to them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open = path / "open"
        self.done = path / "done"
        self.jobs = path / "jobs"
        self.weights = path / "weights"
        self.report = path / "report"
        self.archives = Archives(path)
        self._full: set[int] = set()  # shards that hold all their results: never listed again
        self._full_numbers: set[int] = set()

    def make(self) -> None:
        """Make the folders of a new run."""
        for folder in (self.path, self.open, self.done, self.jobs, self.weights, self.report):
            files.make_folder(folder)
        files.close(self.path)

    def look(self) -> View:
        """The live state of the run.

        `open/` is listed before `done/`: a trial that moves in between is then seen twice, and
        its result counts; the other way round it would be seen nowhere.
        """
        listed = [match for name in files.names(self.open) if (match := _OPEN.fullmatch(name))]
        finished = self._finished()
        proposed: set[int] = set()
        claims: dict[int, int] = {}
        lost: set[tuple[int, int]] = set()
        of: dict[int, list[str]] = {}
        for match in listed:
            number, attempt, kind = int(match[1]), int(match[2] or 0), match[3]
            of.setdefault(number, []).append(match[0])
            if kind == "proposal":
                proposed.add(number)
            elif kind == "claim":
                claims[number] = max(attempt, claims.get(number, 0))
            elif kind == "lost":
                lost.add((number, attempt))
        by_number = {number: tuple(sorted(of[number])) for number in sorted(of)}
        return View(finished, frozenset(proposed), claims, frozenset(lost), by_number)

    def propose(self, proposal: Proposal) -> bool:
        """Publish a point; False if the number is taken."""
        return files.write_once(self.of(proposal.number, "proposal"), _table(proposal))

    def claim(self, claim: Claim) -> bool:
        """Take an attempt at a trial; False if somebody else has it."""
        return files.write_once(self.of(claim.number, "claim", claim.attempt), _table(claim))

    def lose(self, lost: Lost) -> bool:
        """Declare an attempt dead; False if somebody already did."""
        return files.write_once(self.of(lost.number, "lost", lost.attempt), _table(lost))

    def publish(self, result: Result) -> bool:
        """Publish a trial's outcome; False if it has one already, which then counts."""
        if result.number < self.archives.packed:
            return False
        path = self.result_path(result.number)
        files.make_folder(path.parent)
        return files.write_once(path, _table(result))

    def proposal(self, number: int) -> Proposal | None:
        """The proposal of a trial; None while it cannot be read."""
        return _record(Proposal, files.read(self.of(number, "proposal")))

    def claimed(self, number: int, attempt: int) -> Claim | None:
        """The claim of an attempt; None while it cannot be read."""
        return _record(Claim, files.read(self.of(number, "claim", attempt)))

    def losses(self, number: int, attempts: int) -> tuple[str, ...]:
        """How the first so many attempts at a trial ended, where they are lost."""
        paths = (self.of(number, "lost", attempt) for attempt in range(1, attempts + 1))
        return tuple(str(found["reason"]) for path in paths if (found := files.read(path)))

    def lost_seconds(self, number: int, attempts: int) -> float:
        """What the first so many attempts at a trial took, where they are lost."""
        paths = (self.of(number, "lost", attempt) for attempt in range(1, attempts + 1))
        return sum(float((files.read(path) or {}).get("seconds", 0.0)) for path in paths)

    def result(self, number: int) -> Result | None:
        """The outcome of a trial; None while it cannot be read."""
        return next(self.results([number]), None)

    def results(self, numbers: Iterable[int]) -> Iterator[Result]:
        """The outcomes of finished trials as far as they can be read, in no order.

        They come from the pack; many from the digest; and each that is left from its own file.
        """
        left = set(numbers)
        for entry in self.archives.entries(left):
            if entry.number in left:
                left.remove(entry.number)
                yield _result(entry.table())
        for number in sorted(left):
            if (table := files.read(self.result_path(number))) is not None:
                yield _result(table | {"curve": archive.curve(table.get("curve", ()))})

    def source(self, number: int) -> Path:
        """The file that holds the outcome of a trial."""
        packed = self.archives.packed
        return self.archives.pack(packed) if number < packed else self.result_path(number)

    def result_path(self, number: int) -> Path:
        """Where the outcome of a trial is published."""
        return self.done / f"{number // SHARD:03d}" / f"{number:06d}.result.json"

    def of(self, number: int, kind: str, attempt: int | None = None) -> Path:
        """The file of a trial, or of an attempt at it, in open/."""
        end = {"metrics": "jsonl", "checkpoint": "pt"}.get(kind, "json")
        middle = "" if attempt is None else f".{attempt}"
        return self.open / f"{number:06d}{middle}.{kind}.{end}"

    def kept(self, number: int) -> Path:
        """The finished checkpoint of one of the best trials, or of an evaluation."""
        return self.weights / f"{number:06d}.pt"

    def predictions(self, number: int) -> Path:
        """Truth and prediction of an evaluation, as arrays."""
        return self.weights / f"{number:06d}.test.npz"

    def stopping(self) -> str:
        """Why nobody may claim, or an empty string."""
        if "stop.json" not in files.names(self.path):
            return ""
        return str((files.read(self.path / "stop.json") or {}).get("reason", "stop.json"))

    def held(self) -> range:
        """The numbers that nobody may claim, since the budget does not reach for them."""
        if HOLD not in files.names(self.path):
            return range(0)
        found = files.read(self.path / HOLD) or {}
        return range(int(found.get("first", 0)), int(found.get("end", 0)))

    def _finished(self) -> frozenset[int]:
        listed = files.names(self.done)
        numbers = self._full_numbers | self.archives.seen(listed)
        for shard in (int(name) for name in listed if name.isdigit()):
            if shard in self._full:
                continue
            names = files.names(self.done / f"{shard:03d}")
            found = {int(match[1]) for name in names if (match := _DONE.fullmatch(name))}
            numbers |= found
            if len(found) == SHARD:
                self._full.add(shard)
                self._full_numbers |= found
        return frozenset(numbers)


def _result(table: Mapping[str, Any]) -> Result:
    result = _record(Result, table)
    assert result is not None  # for mypy: a table gives a record
    return result


def _table(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _record(kind: type[Record], table: Mapping[str, Any] | None) -> Record | None:
    """A record from its JSON table; keys of a newer version are passed over."""
    if table is None:
        return None
    known = {f.name for f in dataclasses.fields(kind)} & table.keys()  # type: ignore[arg-type]
    values = {key: tuple(v) if isinstance(v := table[key], list) else v for key in known}
    if "state" in values:
        values["state"] = State(str(values["state"]))
    return kind(**values)
