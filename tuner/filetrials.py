"""hyperopt's one home: its TPE, and `FileTrials`, a `hyperopt.Trials` on a run's folder."""

import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, final

import hyperopt
from hyperopt import hp

from jobs import files, trust
from jobs.contract import Proposal, Result, State
from jobs.folder import RunFolder
from tuner import documents
from tuner.documents import Document
from tuner.samplers import point_seed

__all__ = ["FileTrials", "hp", "suggest"]

Told = Sequence[tuple[Mapping[str, Any], float | None]]  # points with losses, None while in work
_ENDED = (hyperopt.JOB_STATE_DONE, hyperopt.JOB_STATE_ERROR)
_STATES = {State.WAITING: hyperopt.JOB_STATE_NEW, State.RUNNING: hyperopt.JOB_STATE_RUNNING}


def suggest(space: Mapping[str, Any], told: Told, seed: int) -> dict[str, Any]:
    """One point of hyperopt's TPE, as the value of every label.

    `space` has a hyperopt expression a label. hyperopt takes a told point without a loss for a
    bad one, which keeps others away from where one is in work.
    """
    trials = hyperopt.Trials()
    trials.insert_trial_docs([_told(i, vals, loss, space) for i, (vals, loss) in enumerate(told)])
    trials.refresh()
    domain = hyperopt.Domain(lambda _: 0.0, dict(space))
    found = hyperopt.tpe.suggest([len(told)], domain, trials, seed, n_startup_jobs=0, verbose=False)
    return {label: vals[0] for label, vals in found[0]["misc"]["vals"].items()}


@final
class FileTrials(hyperopt.Trials):  # type: ignore[misc]
    """Trials that are files: `hyperopt.fmin(fn, space, ..., trials=FileTrials(folder))`.

    Every evaluation is in the folder when it ends, and a new process sees it: a second `fmin`
    with a larger `max_evals` goes on, and begins with the points that a killed one had in work.
    One process at a time evaluates in a folder.

    With `asynchronous` the points go to the workers of the folder's run (its sampler being
    "external"), as with MongoTrials. They train what the space, a dict, evaluates to, and never
    see `fn`; several processes may propose. Values of a run that maximises become losses.

    Side effects: makes the folder, writes proposals and results, and for workers' points
    hyperopt's own view of them in fmin/. Nothing is pickled into the folder. Attachments stay in
    memory.
    """

    def __init__(self, folder: str | Path, asynchronous: bool = False) -> None:
        super().__init__(refresh=False)
        self.folder = RunFolder(Path(folder))
        trust.check_run(self.folder.path)
        self.folder.make()
        self.asynchronous = asynchronous
        self._views = self.folder.path / "fmin"
        if asynchronous:
            files.make_folder(self._views)
        study = (files.read(self.folder.path / "run.json") or {}).get("study", {})
        self._sign = -1.0 if study.get("direction") == "maximize" else 1.0
        self._seed = study.get("seed", 0)
        self._space: Any = None
        self._settled: set[int] = set()  # numbers whose results are read or written
        self._left: list[Document] = []  # points that a killed process had in work
        self._dynamic_trials = documents.Documents(self._settle)
        self.refresh()
        self._before = len(self._dynamic_trials)  # points that earlier processes drew seeds for

    def fmin(self, fn: Any, space: Any, *args: Any, **options: Any) -> Any:
        """What `hyperopt.fmin` calls: remembers the space, and takes up what was left.

        A seed is drawn from `rstate` for every point that was there already, as hyperopt did for
        it: a script that is started again with a fixed seed would else repeat its first points.
        """
        self._space = space
        if (rstate := options.get("rstate")) is not None:
            for _ in range(self._before):
                rstate.integers(2**31 - 1)
            self._before = 0
        if not self.asynchronous:
            waiting = map(self.folder.proposal, self.folder.look().numbers(State.WAITING))
            self._left = [_new(p.number, p.params) for p in waiting if p is not None]
            self._dynamic_trials[:] = [d for d in self._dynamic_trials if d["state"] in _ENDED]
            self.refresh()
        return super().fmin(fn, space, *args, **options)

    def refresh(self) -> None:
        """Publish what was evaluated here, and read what was elsewhere."""
        self._read()
        super().refresh()

    def count_by_state_unsynced(self, arg: Any) -> int:
        """hyperopt's count, after a look at the folder."""
        self._read()
        return int(super().count_by_state_unsynced(arg))

    def delete_all(self) -> None:
        """Raise RuntimeError: a published result stays."""
        raise RuntimeError(f"results are never taken back; remove {self.folder.path} instead")

    def _insert_trial_docs(self, docs: list[Document]) -> list[int]:
        """Propose points under the next free numbers; what was left takes the place of new ones."""
        left, self._left = self._left[: len(docs)], self._left[len(docs) :]
        new = docs[len(left) :]
        for document in new:
            self._propose(document)
        added: list[int] = super()._insert_trial_docs([*left, *new])
        return added

    def _propose(self, document: Document) -> None:
        params, now = self._params(document), time.time()
        number = max([d["tid"] for d in self._dynamic_trials], default=-1) + 1
        number = max(number, self.folder.look().size)
        while not self.folder.propose(
            Proposal(number, params, point_seed(self._seed, number), "fmin", time=now)
        ):
            number += 1  # another process was faster
        documents.renumber(document, number)
        if self.asynchronous:
            files.write_once(self._view(number), {"misc": documents.plain(document["misc"])})

    def _params(self, document: Document) -> dict[str, Any]:
        """What is to be evaluated: for workers the params, here hyperopt's own values."""
        vals = documents.plain(document["misc"]["vals"])
        if not self.asynchronous:
            return {label: val[0] if val else None for label, val in vals.items()}
        active = {label: val[0] for label, val in vals.items() if val}
        params = documents.plain(hyperopt.space_eval(self._space, active))
        if not isinstance(params, dict):
            raise TypeError("workers need a space that is a dict of params")
        return params

    def _settle(self, document: Document) -> None:
        """Publish a document's outcome, once."""
        if document["state"] not in _ENDED or document["tid"] in self._settled:
            return
        result = _result(document, self._sign, self.folder.proposal(document["tid"]))
        if files.patiently(lambda: self.folder.publish(result)):
            self._settled.add(result.number)
            files.remove([self.folder.of(result.number, "proposal")])
        elif (theirs := self.folder.result(result.number)) is not None:
            self._take(theirs, document)

    def _read(self) -> None:
        view = self.folder.look()
        known = {document["tid"]: document for document in self._dynamic_trials}
        due = view.finished - self._settled
        if self.asynchronous:
            known |= self._opened(known)
            due &= known.keys()  # the others are not hyperopt's: enqueued ones, a winner's parts
        for result in sorted(self.folder.results(due), key=lambda result: result.number):
            self._take(result, known.get(result.number))
        if self.asynchronous:
            for number in known.keys() - self._settled:
                if (state := view.state(number)) is not None:
                    known[number]["state"] = _STATES[state]

    def _opened(self, known: Mapping[int, Document]) -> dict[int, Document]:
        """Documents of points that another process gave to the workers."""
        numbers = {int(name.removesuffix(".json")) for name in files.names(self._views)}
        opened = {}
        for number in sorted(numbers - known.keys()):
            if (record := files.read(self._view(number))) is not None:
                opened[number] = {**_new(number, {}), "misc": record["misc"]}
        self._dynamic_trials.extend(opened.values())
        return opened

    def _take(self, result: Result, document: Document | None) -> None:
        """Read an outcome into its document, or into a new one."""
        self._settled.add(result.number)
        extra = result.extra
        if document is None:
            if "misc" not in extra:
                return  # a trial that hyperopt never saw
            document = {**_new(result.number, {}), "misc": extra["misc"]}
            self._dynamic_trials.append(document)
        if "result" in extra:
            document |= {"state": extra["state"], "result": dict(extra["result"])}
            if "loss" in document["result"]:
                document["result"]["loss"] = float(document["result"]["loss"])
        elif result.value is not None:
            outcome = {"status": hyperopt.STATUS_OK, "loss": self._sign * result.value}
            document |= {"state": hyperopt.JOB_STATE_DONE, "result": outcome}
        else:
            document["misc"]["error"] = (result.state.value, result.reason)
            document |= {
                "state": hyperopt.JOB_STATE_ERROR,
                "result": {"status": hyperopt.STATUS_FAIL},
            }

    def _view(self, number: int) -> Path:
        return self._views / f"{number:06d}.json"


def _told(number: int, vals: Mapping[str, Any], loss: float | None, space: Any) -> Document:
    document = _new(number, {label: vals.get(label) for label in space})
    if loss is None:
        return {**document, "state": hyperopt.JOB_STATE_RUNNING}
    return {
        **document,
        "state": hyperopt.JOB_STATE_DONE,
        "result": {"status": hyperopt.STATUS_OK, "loss": loss},
    }


def _new(number: int, values: Mapping[str, Any]) -> Document:
    return documents.document(number, hyperopt.JOB_STATE_NEW, values)


def _result(document: Document, sign: float, proposal: Proposal | None) -> Result:
    """What is published of a document; its loss counts if hyperopt calls it ok and it is finite."""
    result, misc, began = document["result"], document["misc"], document["book_time"]
    reason = ": ".join(misc.get("error", ())) or str(result.get("failure", result["status"]))
    good = document["state"] == hyperopt.JOB_STATE_DONE and result["status"] == hyperopt.STATUS_OK
    if good and not math.isfinite(result["loss"]):
        good, reason = False, f"the loss is {result['loss']}"
    ended = document["refresh_time"]
    return Result(
        document["tid"],
        State.COMPLETE if good else State.FAIL,
        proposal.params if proposal else {},
        value=sign * float(result["loss"]) if good else None,
        reason="" if good else reason,
        origin="fmin",
        extra={k: documents.plain(document[k]) for k in ("state", "result", "misc")},
        started=began.replace(tzinfo=UTC).timestamp() if began else None,
        seconds=(ended - began).total_seconds() if began and ended else None,
    )
