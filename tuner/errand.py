"""The canary's errand: a throw-away run of one trial, where and with what the study's will run."""

import dataclasses
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import files, slurm
from jobs.canary import ANSWER, EXAMINE, FOUND, HELLO
from jobs.contract import Proposal, State
from jobs.executor import Executor, SubmitError
from jobs.logs import last_words
from tuner import drive, store
from tuner.store import Store
from tuner.study import Study

_LOOK = 0.5  # seconds between two looks at the throw-away run
_LAST_WORDS = 20.0  # seconds in which what an ended job wrote shows


@dataclass(frozen=True, slots=True)
class Errand:
    """What the canary brought home; `failed` says why it brought nothing, or not all."""

    found: Mapping[str, Any]
    failed: str = ""
    late: float | None = None  # seconds until a file of the node's was seen here
    waited: float = 0.0  # seconds until the job began


@contextmanager
def throw_away(study: Study, runs: Path) -> Iterator[Store]:
    """A run beside the study's own, of which nothing stays."""
    name = f".doctor-{secrets.token_hex(4)}"
    jobs = dataclasses.replace(study.jobs, n_workers=1, workers_per_gpu=1, trials_per_job=1)
    canary = dataclasses.replace(
        study, name=name, train=EXAMINE, sampler="external", pruner={}, enqueue=(), jobs=jobs
    )
    try:
        yield store.create(canary, runs / name)
    finally:
        files.remove_folder(runs / name)


def send(
    run: Store, train: str, points: Mapping[str, Mapping[str, Any]], patience: float
) -> Errand:
    """Let one worker examine the place and try the points; wait `patience` seconds for its start.

    Side effect: its job is cancelled where it does not come to an end.
    """
    orders = {"canary": {"train": train, "points": points}}
    run.folder.propose(Proposal(0, orders, run.study.seed, "doctor", time=time.time()))
    executor = drive.executor_for(run)
    try:
        executor.submit(1)
        return _wait(run, executor, patience)
    except SubmitError as error:
        return Errand({}, f"sbatch refuses it: {error}")
    finally:
        run.stop("the doctor has seen enough")
        executor.leave()
        if run.study.jobs.executor == "slurm":
            slurm.cancel(slurm.job_name(run.id))


def _wait(run: Store, executor: Executor, patience: float) -> Errand:
    began, late, waited, gone = time.monotonic(), None, 0.0, None
    while True:
        listed, view = files.names(run.path), run.view()
        if HELLO in listed and late is None:
            waited = time.monotonic() - began
            late = files.server_now(run.path) - (files.modified(run.path / HELLO) or 0.0)
            files.write_once(run.path / ANSWER, {"time": time.time()})
        if 0 in view.finished:
            return _home(run, late or 0.0, waited)
        slots = executor.slots()
        begun = late is not None or view.state(0) is State.RUNNING
        if slots is not None and not slots.workers:
            gone = gone or time.monotonic()
            if time.monotonic() - gone > _LAST_WORDS:
                return Errand({}, f"the job ended before it trained: {_words(run)}")
        elif not begun and time.monotonic() - began > patience:
            why = f" ({slots.waiting_for})" if slots and slots.waiting_for else ""
            return Errand({}, f"the job still waits after {patience:.0f} s{why}")
        time.sleep(_LOOK)


def _home(run: Store, late: float, waited: float) -> Errand:
    result = run.folder.result(0)
    found = files.read(run.path / FOUND) or {}
    reason = "" if result is None or result.state is State.COMPLETE else result.reason
    return Errand(found, reason, late, waited)


def _words(run: Store) -> str:
    names = files.names(run.folder.jobs)
    said = last_words(run.folder, names[0]) if names else "nothing was submitted"
    return said.partition(" (all of it in ")[0]  # that folder goes
