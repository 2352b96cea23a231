"""A run's folder as the controller sees it: the study, every trial, and what only it may write."""

import json
import platform
import secrets
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, final

from jobs import files, logs, trust
from jobs.contract import SEARCH, Claim, Lost, Proposal, Result, RunFolder, State, View
from tuner.space import BadInput
from tuner.study import IDENTITY, Study
from tuner.trial import Trial

_VERSIONS = ("submitit", "torch", "scikit-optimize", "hyperopt", "numpy", "pandas")
_PAUSE = 0.2  # seconds between two looks …
_LOOKS = 900  # … of which so many take three times what NFS needs to show a new file
_KEPT = 3  # finished checkpoints of the best trials that stay in weights/


@final
class Store:
    """One run: its study, its trials, and the controller's files."""

    def __init__(self, path: Path) -> None:
        """Open a run; raises BadInput where there is none, Untrusted where others can write."""
        trust.check_run(path)
        self.path = path
        self.folder = RunFolder(path)
        self.run = files.read(path / "run.json") or {}
        settings = files.read(path / "settings.json")
        if not self.run or settings is None:
            raise BadInput("", "is not a run's folder", "name a folder that tuner.run made")
        identity = {key: self.run["study"][key] for key in IDENTITY}
        self.study = Study.from_table({**identity, **settings})
        self._results: dict[int, Trial] = {}
        self._proposals: dict[int, Proposal] = {}

    @property
    def id(self) -> str:
        """The run's random id, which names its jobs in Slurm."""
        return str(self.run["id"])

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
        for result in self.folder.results(view.finished - self._results.keys()):
            self._results[result.number] = _finished(result)
            self._proposals.pop(result.number, None)
        found = (self._trial(number, view) for number in range(view.size))
        return [trial for trial in found if trial is not None]

    def claims(self, view: View) -> list[Claim]:
        """The claims of all RUNNING trials."""
        return [self.newest_claim(number, view) for number in view.numbers(State.RUNNING)]

    def newest_claim(self, number: int, view: View) -> Claim:
        """The claim of a trial's newest attempt; one that cannot be read is no living job's."""
        attempt = view.claims[number]
        return self.folder.claimed(number, attempt) or Claim(number, attempt, job="")

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
            before = self.folder.losses(claim.number, claim.attempt - 1)
            result = Result.of_attempt(
                proposal, claim, State.FAIL, reason=reason, lost=before,
                log=logs.tail(self.folder, claim),
            )  # fmt: skip
            self.folder.publish(result)

    def lose(self, claim: Claim, reason: str) -> None:
        """Declare an attempt dead: its trial waits again."""
        self.folder.lose(
            Lost(claim.number, claim.attempt, reason, by="controller", time=time.time())
        )

    def sweep(self, view: View) -> None:
        """Remove what open/ still holds of finished trials, and all but the best weights."""
        for number in view.finished & view.files.keys():
            files.remove(self.folder.open / name for name in view.files[number])
        files.sweep_drafts(self.folder.open)

    def keep_best(self, trials: list[Trial]) -> None:
        """Remove the finished checkpoints of all but the best few and the winner's parts."""
        done = [t for t in trials if t.part == SEARCH and t.state is State.COMPLETE]
        best = sorted(done, key=lambda t: (self.study.sign * (t.value or 0.0), t.number))[:_KEPT]
        keep = {t.number for t in best} | {t.number for t in trials if t.part != SEARCH}
        passed = {t.number for t in trials if t.state.finished} - keep
        held = files.names(self.folder.weights)
        files.remove(self.folder.weights / name for name in held if _number(name) in passed)

    def sign_of_life(self, record: Mapping[str, Any]) -> None:
        """Replace controller.json."""
        files.replace(self.path / "controller.json", json.dumps(record).encode())

    def last_sign(self) -> dict[str, Any]:
        """The newest controller.json, empty where there is none."""
        if "controller.json" not in files.names(self.path):
            return {}
        return files.read(self.path / "controller.json") or {}

    def stop(self, reason: str) -> None:
        """Let nobody claim any more."""
        files.replace(self.path / "stop.json", json.dumps({"reason": reason}).encode())

    def go_on(self) -> None:
        """Take back the wish to stop."""
        files.remove([self.path / "stop.json"])

    def _trial(self, number: int, view: View) -> Trial | None:
        if number in self._results:
            return self._results[number]
        proposal = self._proposals.get(number) or self.folder.proposal(number)
        state = view.state(number)
        if proposal is None or state is None:
            return None
        self._proposals[number] = proposal
        return _open(proposal, state, view.claims.get(number, 0))


def create(study: Study, path: Path) -> Store:
    """Start a run, or go on with the one that is there; raises BadInput if its study differs.

    Raises Untrusted where others can write the folder.

    The number of trials, the jobs and further points to enqueue may change; the identity may not.
    """
    study.check_train()
    study.load_data()
    folder = RunFolder(path)
    trust.check_run(path)
    listed = files.names(path)
    if listed and "run.json" not in listed:
        problem = f"the folder {path} holds something else"
        raise BadInput("--folder", problem, "choose an empty or a new one")
    try:
        folder.make()
        trust.check_run(path)  # nobody was faster
        identity = study.identity()
        record = {"id": secrets.token_hex(4), "study": identity, "versions": _versions()}
        files.write_once(path / "run.json", record)
    except OSError as error:
        problem = f"the folder {path} cannot be written ({error.strerror})"
        raise BadInput("--folder", problem, "choose another") from None
    old = (files.read(path / "run.json") or {})["study"]
    _refuse_change(old, json.loads(json.dumps(identity)))
    table = study.to_table()
    settings = {key: value for key, value in table.items() if key not in IDENTITY}
    files.replace(path / "settings.json", json.dumps(settings).encode())
    return Store(path)


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


def _finished(result: Result) -> Trial:
    return Trial(
        number=result.number,
        state=result.state,
        params=result.params,
        part=result.part,
        value=result.value,
        reason=result.reason,
        seed=result.seed,
        curve=result.curve,
        metrics=result.metrics,
        started=result.started,
        seconds=result.seconds,
        attempts=result.attempts,
        lost=result.lost,
        host=result.host,
        device=result.device,
        told=result.number - len(result.pending),
        pending=len(result.pending),
        origin=result.origin,
        of=result.of,
    )


def _open(proposal: Proposal, state: State, attempts: int) -> Trial:
    return Trial(
        number=proposal.number,
        state=state,
        params=proposal.params,
        part=proposal.part,
        seed=proposal.seed,
        attempts=attempts,
        told=proposal.number - len(proposal.pending),
        pending=len(proposal.pending),
        origin=proposal.origin,
        of=proposal.of,
    )
