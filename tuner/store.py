"""A run's folder as the controller sees it: the study, every trial, and what only it may write."""

import dataclasses
import gc
import json
import os
import platform
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, final

from jobs import doors, files, logs, trust
from jobs.contract import HOLD, LEFT, SEARCH, SIGN, Claim, Lost, Proposal, Result, State, View
from jobs.folder import RunFolder, past
from tuner import confirm, ours, warm
from tuner.settings import WarmStart
from tuner.space import BadInput
from tuner.study import IDENTITY, Study
from tuner.trial import Trial, of_proposal

_VERSIONS = ("submitit", "torch", "scikit-optimize", "hyperopt", "numpy", "pandas")
_PAUSE = 0.2  # seconds between two looks …
_LOOKS = 900  # … of which so many take three times what NFS needs to show a new file
_SETTINGS = "settings.json"  # of its study what may change …
_LIMITS = ("n_trials", "gpu_hours", "confirm", "enqueue")  # … and under a controller at work
_WARM = "warm.json"  # what the sampler is told of earlier runs, as they were when this one began
_KEPT = 3  # finished checkpoints of the best trials that stay in weights/


@final
class Store:
    """One run: its study, its trials, and the controller's files."""

    def __init__(self, path: Path, check: Callable[[Path], None] = trust.check_run) -> None:
        """Open a run; raises BadInput where there is none, Untrusted where `check` does.

        Who only reads may look at a colleague's: `check = trust.check_reader`.
        """
        check(path)
        self.path = path
        self.folder = RunFolder(path)
        self.run = files.read(path / "run.json") or {}
        self._settings = files.read(path / _SETTINGS) or {}
        if not self.run or not self._settings:
            raise BadInput("", "is not a run's folder", "name a folder that tuner.run made")
        self.study = self._study(self._settings)
        self.warm = _warm(path) if self.study.warm_start.runs else warm.Warm()
        self._results: dict[int, Trial] = {}
        self._proposals: dict[int, Proposal] = {}
        self._claims: dict[int, Claim] = {}
        self._tries: dict[int, tuple[dict[str, Any], ...]] = {}  # lost attempts of open trials

    @property
    def id(self) -> str:
        """The run's random id, which names its jobs in Slurm."""
        return str(self.run["id"])

    def reread(self) -> None:
        """Take up the limits of the study that were changed since; the rest waits for a start."""
        settings = files.read(self.path / _SETTINGS) or self._settings
        if settings == self._settings:
            return
        new, self._settings = self._study(settings), settings
        limits = {name: getattr(new, name) for name in _LIMITS}
        jobs = dataclasses.replace(self.study.jobs, n_workers=new.jobs.n_workers)
        self.study = dataclasses.replace(self.study, jobs=jobs, **limits)

    def view(self) -> View:
        """A listing without gaps; waits out a stale one, raises BadInput if it stays so.

        Looks are counted, not seconds: a process that was stopped for an hour has not waited.
        """
        for _ in range(_LOOKS):
            view = files.patiently(self.folder.look)
            if view.whole:
                return view
            time.sleep(_PAUSE)
        missing = min(set(range(view.size)) - view.finished - view.proposed)
        remedy = "restore its files, or start another run"
        raise BadInput("", f"has no trial {missing}, but later ones", remedy)

    def trials(self, view: View | None = None) -> list[Trial]:
        """Every trial of the run in the order of its numbers."""
        view = view or self.view()
        known = self._results
        new = [number for number in view.finished if number not in known]
        with _uncollected():
            for trial in self.folder.outcomes(Trial, new):
                known[trial.number] = trial
        for number in known.keys() & new:
            self._proposals.pop(number, None)
            self._claims.pop(number, None)
            self._tries.pop(number, None)
        found = list(map(known.get, range(view.size)))
        for number in view.proposed - view.finished:
            found[number] = self._open(number, view)
        return [trial for trial in found if trial is not None]

    def claims(self, view: View) -> list[Claim]:
        """The claims of all RUNNING trials."""
        return [self.newest_claim(number, view) for number in view.numbers(State.RUNNING)]

    def newest_claim(self, number: int, view: View) -> Claim:
        """The claim of a trial's newest attempt; one that cannot be read is no living job's."""
        attempt, known = view.claims[number], self._claims.get(number)
        if known is not None and known.attempt == attempt:
            return known
        claim = self.folder.claimed(number, attempt)
        if claim is not None:
            self._claims[number] = claim
        return claim or Claim(number, attempt, job="")

    def newest_file(self, claim: Claim) -> float:
        """When a worker last wrote for a claim, in seconds by the file server's clock."""
        kinds = ("claim", "metrics", "checkpoint")
        paths = (self.folder.of(claim.number, kind, claim.attempt) for kind in kinds)
        return max((files.modified(path) or 0.0 for path in paths), default=0.0)

    def attempts(self, view: View, number: int) -> list[tuple[str, bool]]:
        """How a trial's attempts ended, as far as they did, and whether they saved anything."""
        of = self.folder.of
        ends = ((n, files.read(of(number, "lost", n))) for n in range(1, view.claims[number] + 1))
        held = view.files[number]
        return [
            (str(end["reason"]), of(number, "checkpoint", n).name in held) for n, end in ends if end
        ]

    def fail(self, claim: Claim, reason: str) -> None:
        """End a trial whose attempts are used up; its FAIL is its result."""
        proposal = self.folder.proposal(claim.number)
        if proposal is not None:
            before = self.folder.before(claim.number, claim.attempt)
            result = Result.of_attempt(
                proposal, claim, State.FAIL, reason=reason, started=claim.time,
                seconds=self._lasted(claim), log=logs.tail(self.folder, claim), **before,
            )  # fmt: skip
            self.folder.publish(result)

    def lose(self, claim: Claim, reason: str) -> None:
        """Declare an attempt dead: its trial waits again."""
        seconds = self._lasted(claim)
        self.folder.lose(
            Lost(claim.number, claim.attempt, reason, "controller", time.time(), seconds)
        )

    def sweep(self, view: View) -> None:
        """Remove what open/ still holds of finished trials, and all but the best weights."""
        for number in (number for number in view.files if number in view.finished):
            files.remove(self.folder.open / name for name in view.files[number])
        files.sweep_drafts(self.folder.open)

    def keep_best(self, trials: Sequence[Trial]) -> None:
        """Remove the finished checkpoints of all but the best few and the winner's.

        Those of runs with fresh seeds stay until it is known whose are the winner's. `trials` are
        all of the run's.
        """
        held = {name: _number(name) for name in files.names(self.folder.weights)}
        of = {n: trials[n] for n in {*held.values()} if 0 <= n < len(trials)}
        passed = [t for t in of.values() if t.state.finished and t.part == SEARCH]
        done = [t for t in passed if t.state is State.COMPLETE]
        best = sorted(done, key=lambda t: (self.study.sign * (t.value or 0.0), t.number))[:_KEPT]
        gone = {t.number for t in passed} - {t.number for t in best}
        if confirm.ranking(self.study, trials):
            won = {t.number for t in confirm.models(self.study, trials)}
            gone |= {t.number for t in confirm.runs_of([*of.values()])} - won
        files.remove(self.folder.weights / name for name, n in held.items() if n in gone)

    def sign_of_life(self, record: Mapping[str, Any]) -> None:
        """Replace controller.json."""
        files.replace(self.path / SIGN, json.dumps(record).encode())

    def leave(self) -> None:
        """Say that this process ends, in its own sign of life: nobody cares for its jobs now."""
        sign = self.last_sign()
        if (sign.get("host"), sign.get("pid")) == (socket.gethostname(), os.getpid()):
            self.sign_of_life({**sign, LEFT: time.time()})

    def last_sign(self) -> dict[str, Any]:
        """The newest controller.json, empty where there is none."""
        if SIGN not in files.names(self.path):
            return {}
        return files.read(self.path / SIGN) or {}

    def stop(self, reason: str) -> None:
        """Let nobody claim any more."""
        files.replace(self.path / "stop.json", json.dumps({"reason": reason}).encode())

    def go_on(self) -> None:
        """Take back the wish to stop."""
        files.remove([self.path / "stop.json"])

    def hold(self, held: range) -> None:
        """Let nobody claim these numbers any more; an empty range takes that back."""
        if held:
            record = {"first": held.start, "end": held.stop}
            files.replace(self.path / HOLD, json.dumps(record).encode())
        else:
            files.remove([self.path / HOLD])

    def began(self) -> float:
        """When the run was made, in seconds by the file server's clock."""
        return files.modified(self.path / "run.json") or 0.0

    def _study(self, settings: Mapping[str, Any]) -> Study:
        identity = {key: self.run["study"][key] for key in IDENTITY if key in self.run["study"]}
        return Study.from_table({**identity, **settings})

    def _lasted(self, claim: Claim) -> float:
        """Seconds from a claim to its last sign of life, by which a dead one is counted."""
        return max(0.0, self.newest_file(claim) - claim.time) if claim.time else 0.0

    def _open(self, number: int, view: View) -> Trial | None:
        proposal = self._proposals.get(number) or self.folder.proposal(number)
        state = view.state(number)
        if proposal is None or state is None:
            return None
        self._proposals[number] = proposal
        attempts = view.claims.get(number, 0)
        running = self.newest_claim(number, view) if state is State.RUNNING else None
        ended = attempts - (running is not None)
        if len(self._tries.get(number, ())) < ended:
            self._tries[number] = self.folder.ended(number, ended)
        lost = past(self._tries.get(number, ()))
        return of_proposal(proposal, state, attempts, running, lost)


def create(study: Study, path: Path) -> Store:
    """Start a run, or go on with the one that is there; raises BadInput if its study differs.

    Raises Untrusted where others can write the folder.

    What IDENTITY names may not change, everything else may.
    """
    study.check_train()
    ours.check(study, study.load_data())
    folder = RunFolder(path)
    trust.check_run(path)
    listed = files.names(path)
    if "run.json" not in listed and set(listed) - {*folder.folders, _WARM}:
        problem = f"the folder {path} holds something else"
        raise BadInput("--folder", problem, "choose an empty or a new one")
    group = _group(study.group)
    told = None if "run.json" in listed else _earlier(study)
    try:
        folder.make()
        trust.check_run(path)  # nobody was faster
        if group is None:
            doors.close(path)
        else:
            doors.let_pass(path.parent)
            doors.open_to(path, group)
        with doors.masked(path):
            identity = study.identity()
            record = {"id": secrets.token_hex(4), "study": identity, "versions": _versions()}
            if told is not None:  # first: a run that has begun has it
                files.write_once(path / _WARM, told)
            files.write_once(path / "run.json", record)
    except OSError as error:
        problem = f"the folder {path} cannot be written ({error.strerror})"
        raise BadInput("--folder", problem, "choose another") from None
    old = (files.read(path / "run.json") or {})["study"]
    old = {"warm_start": dataclasses.asdict(WarmStart()), **old}  # older runs do not name it
    _refuse_change(json.loads(json.dumps(old)), json.loads(json.dumps(identity)))
    change(path, study)
    return Store(path)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Python does not look for cycles among records that are all kept: a fifth of their time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def resume_line(store: Store) -> str:
    """The command that goes on with a run."""
    return f"python -m tuner.resume {store.path}"


def change(path: Path, study: Study) -> None:
    """Give a run what may change of its study; a controller at work takes it up by itself."""
    table = study.to_table()
    settings = {key: value for key, value in table.items() if key not in IDENTITY}
    with doors.masked(path):
        files.replace(path / _SETTINGS, json.dumps(settings).encode())


def _group(name: str | None) -> int | None:
    """The number of the group that may read a run; raises BadInput where it is none of ours."""
    if name is None:
        return None
    if (found := trust.group_id(name)) is None:
        raise BadInput("group", f"you are in no group {name!r}", "name one of those of `id -Gn`")
    return found


def _earlier(study: Study) -> dict[str, Any] | None:
    """What a new run is told of earlier ones; None without any."""
    found = []
    for run in study.warm_start.runs:
        try:
            old = Store(Path(run))
        except BadInput as error:
            raise BadInput("warm_start.runs", f"{run} {error.problem}", error.remedy) from None
        hash_ = str(old.run["study"].get("data_hash", ""))
        found.append(warm.Earlier(str(run), old.study, old.trials(), hash_))
    return warm.snapshot(study, study.data_hash(), found) if found else None


def _warm(path: Path) -> warm.Warm:
    record = files.read(path / _WARM)
    if record is None:
        raise BadInput("", f"has lost its {_WARM}", "restore it, or start another run")
    return warm.load(record)


def _refuse_change(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> None:
    for key in (*old, *(key for key in new if key not in old)):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            _refuse_change(before, after, f"{prefix}{key}.")
        raise BadInput(
            f"{prefix}{key}",
            f"was {before!r} when this run began and is {after!r} now",
            "give it its old value, or start another run with --folder",
        )


def _number(name: str) -> int:
    head = name.split(".", maxsplit=1)[0]
    return int(head) if head.isdigit() else -1


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{n: metadata.version(n) for n in _VERSIONS}}
