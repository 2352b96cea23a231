"""A run's folder: the only way to the files of a run, by the names and records of the contract."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, final

from jobs import archive, doors, files
from jobs.archive import Archives
from jobs.contract import (
    HOLD,
    SHARD,
    SIGN,
    Claim,
    Lost,
    Proposal,
    Result,
    State,
    View,
    at_work,
)

_OPEN = re.compile(r"(\d{6,})\.(?:(\d+)\.)?(proposal|claim|lost|metrics|checkpoint)\.(?:jsonl?|pt)")
_DONE = re.compile(r"(\d{6,})\.result\.json")
_PLACE = ("job", "host", "device", "submitted", "began", "time")  # of a claim
Record = TypeVar("Record")


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
        self.folders = ("open", "done", "jobs", "weights", "report")
        self.archives = Archives(path)
        self._full: set[int] = set()  # shards that hold all their results: never listed again
        self._full_numbers: set[int] = set()

    def make(self) -> None:
        """Make the folders of a new run; an older one's stay as open, or closed, as they are."""
        new = not files.names(self.path)
        for folder in (self.path, *(self.path / name for name in self.folders)):
            files.make_folder(folder)
        if new:
            doors.close(self.path)

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
        return _read(Proposal, self.of(number, "proposal"))

    def claimed(self, number: int, attempt: int) -> Claim | None:
        """The claim of an attempt; None while it cannot be read."""
        return _read(Claim, self.of(number, "claim", attempt))

    def ended(self, number: int, attempts: int) -> tuple[dict[str, Any], ...]:
        """The lost ones of the first so many attempts at a trial: where, when, and why they ended.

        Each has `reason` and `seconds`, and what its claim says: `job`, `host`, `device`,
        `submitted`, `began`, and its `time`.
        """
        found = []
        for attempt in range(1, attempts + 1):
            if lost := files.read(self.of(number, "lost", attempt)):
                claim = files.read(self.of(number, "claim", attempt)) or {}
                known = {key: claim[key] for key in _PLACE if key in claim}
                end = {"reason": str(lost["reason"]), "seconds": float(lost.get("seconds", 0.0))}
                found.append(known | end)
        return tuple(found)

    def before(self, number: int, attempt: int) -> dict[str, Any]:
        """What the result of an attempt says of those before it, by the result's fields."""
        return past(self.ended(number, attempt - 1))

    def result(self, number: int) -> Result | None:
        """The outcome of a trial; None while it cannot be read."""
        return next(self.results([number]), None)

    def results(self, numbers: Iterable[int]) -> Iterator[Result]:
        """The outcomes of finished trials as far as they can be read, in no order."""
        return self.outcomes(Result, numbers)

    def outcomes(self, kind: type[Record], numbers: Iterable[int]) -> Iterator[Record]:
        """The same as records of a kind that has some of a Result's fields.

        They come from the pack; many from the digest; and each that is left from its own file.
        """
        left = set(numbers)
        there = (entry for entry in self.archives.entries(left) if entry.number in left)
        for table in archive.tables(there):
            if table["number"] in left:  # a line can stand there twice
                left.remove(table["number"])
                yield _record(kind, table)
        for number in sorted(left):
            if (single := files.read(self.result_path(number))) is not None:
                yield _record(kind, {**single, "curve": archive.curve(single.get("curve", ()))})

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

    def attended(self) -> bool:
        """Whether a controller is at work, by its last sign of life and the file server's clock."""
        sign = (files.read(self.path / SIGN) or {}) if SIGN in files.names(self.path) else {}
        age = files.server_now(self.open) - (files.modified(self.path / SIGN) or 0.0)
        return at_work(sign, age)

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


def past(tries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lost attempts as the fields of a result, or of a trial."""
    reasons = tuple(each["reason"] for each in tries)
    return {
        "tries": tries,
        "lost": reasons,
        "lost_seconds": sum(each["seconds"] for each in tries),
    }


def _table(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _read(kind: type[Record], path: Path) -> Record | None:
    table = files.read(path)
    return None if table is None else _record(kind, table)


def _record(kind: type[Record], table: Mapping[str, Any]) -> Record:
    """A record from its JSON table; keys of a newer version are passed over."""
    layout = _layout(kind)  # type: ignore[arg-type]  # a class is hashable
    known = {**layout.defaults, **table}
    if "state" in known:
        known["state"] = State(str(known["state"]))
    for name in layout.sequences:
        if type(known[name]) is list:
            known[name] = tuple(known[name])
    for name in layout.numbers:
        if type(known[name]) is list:
            known[name] = len(known[name])
    return kind(*layout.values(known))


class _Layout(NamedTuple):
    """What reading a record needs to know of its kind; asked once, since 100,000 are read."""

    values: Callable[[Mapping[str, Any]], Iterable[Any]]  # in the order of the fields
    defaults: Mapping[str, Any]
    sequences: Sequence[str]  # fields that JSON knows as lists
    numbers: Sequence[str]  # those of which a kind may want no more of a list than its length


@cache
def _layout(kind: type[Any]) -> _Layout:
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    defaults = {f.name: f.default for f in fields if f.default is not missing}
    made = {f.name: f.default_factory() for f in fields if f.default_factory is not missing}
    sequences = [name for name, default in defaults.items() if default == ()]
    numbers = [name for name, default in defaults.items() if default == 0 and type(default) is int]
    values = itemgetter(*(field.name for field in fields))
    return _Layout(values, defaults | made, sequences, numbers)
