"""hyperopt's one home: its TPE, and `FileTrials`, a `hyperopt.Trials` on a run's folder."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import hyperopt
from hyperopt import hp
from hyperopt.base import (
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    STATUS_FAIL,
    STATUS_OK,
)

from jobs import files
from jobs.contract import Proposal, Result, RunFolder, State
from tuner.samplers import point_seed

__all__ = ["FileTrials", "hp", "suggest"]

Document = dict[str, Any]


def suggest(space: Mapping[str, Any], told: Sequence[tuple[Mapping[str, Any], float | None]],
            seed: int) -> Mapping[str, Any]:  # fmt: skip
    """One point of hyperopt's TPE, as the value of every label.

    `space` has a hyperopt expression a label. `told` are earlier points with their losses, None
    for one that is still in work: hyperopt takes it for a bad one, which keeps others away.
    """
    trials = hyperopt.Trials()
    trials.insert_trial_docs([_told(i, vals, loss, space) for i, (vals, loss) in enumerate(told)])
    trials.refresh()
    domain = hyperopt.Domain(lambda _: 0.0, dict(space))
    found = hyperopt.tpe.suggest([len(told)], domain, trials, seed, n_startup_jobs=0, verbose=False)
    return {label: vals[0] for label, vals in found[0]["misc"]["vals"].items() if vals}


@final
class FileTrials(hyperopt.Trials):  # type: ignore[misc]
    """Trials that are files: `hyperopt.fmin(fn, space, ..., trials=FileTrials(folder))`.

    Every evaluation is in the folder when it ends, and a new process sees it: a second `fmin`
    with a larger `max_evals` goes on, beginning with the points that a killed one left. With
    `asynchronous` the points go to the workers of the folder's run (its sampler "external"),
    which train `params` and never see `fn`. Nothing is pickled into the folder.
    """

    def __init__(self, folder: str | Path, asynchronous: bool = False) -> None:
        self.folder = RunFolder(Path(folder))
        self.folder.make()
        self.asynchronous = asynchronous
        self._space: Any = None
        self._published: set[int] = set()
        self._opened = False  # points found at the start are ours to evaluate, later ones are not
        super().__init__()

    def fmin(self, fn: Any, space: Any, **options: Any) -> Any:
        """What `hyperopt.fmin` calls; remembers the space, which says what a worker is to train."""
        self._space = space
        return super().fmin(fn, space, **options)

    def refresh(self) -> None:
        """Publish what was evaluated here, and read what others did."""
        for document in self._dynamic_trials:
            ended = document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR)
            if ended and document["tid"] not in self._published:
                self._publish(document)
        self._read()
        super().refresh()

    def new_trial_ids(self, n: int) -> list[int]:
        """The next numbers of the run."""
        first = max(self.folder.look().size, 1 + max(self._ids, default=-1))
        self._ids.update(range(first, first + n))
        return list(range(first, first + n))

    def count_by_state_unsynced(self, state: Any) -> int:
        """hyperopt's count, after a look at the folder."""
        self._read()
        return int(super().count_by_state_unsynced(state))

    def _insert_trial_docs(self, docs: list[Document]) -> list[int]:
        for document in docs:
            number = document["tid"]
            proposal = Proposal(
                number, self._params(document), point_seed(0, number), "fmin", time=time.time()
            )
            if not self.folder.propose(proposal):
                raise RuntimeError(f"point {number} of {self.folder.path} is somebody else's")
        added: list[int] = super()._insert_trial_docs(docs)
        return added

    def _params(self, document: Document) -> dict[str, Any]:
        """What is to be evaluated: for workers the params, here hyperopt's own values."""
        vals = _plain(document["misc"]["vals"])
        values = {label: val[0] if val else None for label, val in vals.items()}
        if not self.asynchronous:
            return values
        active = {label: value for label, value in values.items() if value is not None}
        params = _plain(hyperopt.space_eval(self._space, active))
        if not isinstance(params, dict):
            raise TypeError("workers need a space that is a dict of params")
        return params

    def _publish(self, document: Document) -> None:
        number, result = document["tid"], _plain(document["result"])
        good = document["state"] == JOB_STATE_DONE and result.get("status") == STATUS_OK
        reason = "" if good else _why(document)
        proposal = self.folder.proposal(number)
        self.folder.publish(
            Result(
                number,
                State.COMPLETE if good else State.FAIL,
                proposal.params if proposal else self._params(document),
                value=float(result["loss"]) if good else None,
                reason=reason,
                origin="fmin",
                extra={"result": result, "misc": _plain(document["misc"])},
            )
        )
        self._published.add(number)
        files.remove([self.folder.of(number, "proposal")])  # its result is the guard now

    def _read(self) -> None:
        known = {document["tid"]: document for document in self._dynamic_trials}
        view = self.folder.look()
        for number in range(view.size):
            if number in self._published:
                continue
            if number in view.finished:
                self._take(number, known.get(number))
            elif number not in known and (proposal := self.folder.proposal(number)) is not None:
                ours = not (self._opened or self.asynchronous)
                state = JOB_STATE_NEW if ours else JOB_STATE_RUNNING
                self._dynamic_trials.append(_document(number, state, proposal.params))
        self._opened = True

    def _take(self, number: int, document: Document | None) -> None:
        """Read the outcome of a trial into its document, or into a new one."""
        result = self.folder.result(number)
        if result is None:
            return
        if document is None:
            document = _document(number, JOB_STATE_DONE, result.params)
            self._dynamic_trials.append(document)
        document["state"] = JOB_STATE_DONE if result.value is not None else JOB_STATE_ERROR
        document["misc"] |= result.extra.get("misc", {})
        outcome = {"status": STATUS_OK, "loss": result.value}
        if result.value is None:
            outcome = {"status": STATUS_FAIL, "failure": result.reason}
        document["result"] = {**outcome, **result.extra.get("result", {})}
        self._published.add(number)


def _told(number: int, vals: Mapping[str, Any], loss: float | None, space: Any) -> Document:
    state = JOB_STATE_RUNNING if loss is None else JOB_STATE_DONE
    document = _document(number, state, {label: vals.get(label) for label in space})
    document["result"] = {"status": "new"} if loss is None else {"status": STATUS_OK, "loss": loss}
    return document


def _document(number: int, state: int, values: Mapping[str, Any]) -> Document:
    vals = {label: [] if value is None else [value] for label, value in values.items()}
    idxs = {label: [number] if val else [] for label, val in vals.items()}
    misc = {"tid": number, "cmd": None, "workdir": None, "idxs": idxs, "vals": vals}
    nothing = dict.fromkeys(("spec", "exp_key", "owner", "book_time", "refresh_time"))
    result = {"status": "new"}
    return {"state": state, "tid": number, "misc": misc, "result": result, "version": 0, **nothing}


def _why(document: Document) -> str:
    error = document["misc"].get("error")
    return ": ".join(error) if error else str(document["result"].get("failure", "status fail"))


def _plain(value: Any) -> Any:
    """The same as JSON would bring it back; numpy's numbers become plain ones, the rest text."""
    return json.loads(
        json.dumps(value, default=lambda x: x.item() if hasattr(x, "item") else str(x))
    )
