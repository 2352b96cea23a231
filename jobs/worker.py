"""A worker: takes waiting trials one after the other, trains them and publishes their results."""

import argparse
import importlib
import math
import os
import random
import signal
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, final

from jobs import doors, files, trust
from jobs.attempt import TIME_TO_SAVE, Attempt
from jobs.contract import (
    BY_HAND,
    END,
    ENQUEUED,
    FULL,
    NOTE,
    READY,
    SEARCH,
    Claim,
    Proposal,
    State,
    View,
)
from jobs.folder import RunFolder
from jobs.logs import LOG_TAIL
from jobs.orders import Orders
from jobs.outcome import Train, outcome
from jobs.rungs import Rungs
from jobs.scratch import Prepared
from jobs.slot import Slot
from models import data as datasets

_CROWD = 8  # workers beyond which the lowest waiting number would be fought over
_WAIT, _WAIT_MOST = 0.1, 2.0  # seconds between two looks for a point: ever rarer, an admin counts
_STARTUP_SHARE = 0.05  # of a job, which trains on with trials_per_job = "auto" until it is less
_FITS = 1.2  # a trial is started if this many times the longest so far fits into the job
_WARNED = 180.0  # seconds: USR2 is asked for 90 before the end, and comes up to 60 earlier


@final
class Leaving:
    """Remembers that Slurm or the controller asked this process to end.

    The handler only sets a word: the training writes its checkpoint at the end of the epoch. It
    replaces submitit's handlers, which requeue the job and pickle inside a signal.

    USR2 warns of the time limit, a short job at its very start: where the `deadline` is known,
    the attempt's own clock knows better. Earlier it is what some sites send before preemption.
    """

    def __init__(self) -> None:
        self.word = ""
        self.deadline = 0.0  # the end of this job, in seconds since the epoch
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGUSR2 or self.deadline - time.time() > _WARNED:
            self.word = self.word or signal.Signals(number).name

    def __call__(self) -> str:
        """The signal that asked, or an empty string."""
        return self.word


@final
class Worker:
    """Trains the waiting trials of a run in one slot until there is no reason to go on."""

    def __init__(self, folder: RunFolder, orders: Orders, here: Slot, leaving: Leaving) -> None:
        self.folder = folder
        self.orders = orders
        self.slot = here
        self.leaving = leaving
        self.finished = 0
        self._longest = 0.0
        self._startup = math.inf  # seconds, once it is over
        self._function = resolve(orders.train)
        scratch = Prepared(folder.path)
        self._data = datasets.load(orders.data, scratch) if orders.data else None

    def run(self) -> str:
        """Work until nothing waits, the job is full, out of time or told to leave; says which."""
        self._startup = time.time() - self.slot.began
        while not (reason := self._enough()):
            taken = self._next()
            if taken is None:
                return self.leaving() or self.folder.stopping() or "nothing waits"
            started = time.monotonic()
            self._try(*taken)
            self._longest = max(self._longest, time.monotonic() - started)
            self.finished += 1
        return reason

    def _enough(self) -> str:
        if self.leaving():
            return self.leaving()
        if self._full():
            return FULL
        left = self.slot.deadline - time.time() - TIME_TO_SAVE
        return "no time for another trial" if self.finished and left < _FITS * self._longest else ""

    def _full(self) -> bool:
        """Whether the job has trained what it was to, or for so long that its start-up is paid."""
        if self.orders.trials_per_job != "auto":
            return self.finished == self.orders.trials_per_job
        paid = self._startup < _STARTUP_SHARE * (time.time() - self.slot.began)
        return self.finished > 0 and paid

    def _next(self) -> tuple[Claim, Proposal] | None:
        """Claim a waiting trial; None once nothing has waited for the grace."""
        os.umask(doors.umask(self.folder.path))  # the run may have been given to a group since
        empty_since, pause = time.monotonic(), _WAIT
        while not self.leaving() and not self.folder.stopping():
            held = files.patiently(self.folder.held)  # the budget does not reach for these
            view = files.patiently(self.folder.look)
            proposal = self._choose([n for n in view.numbers(State.WAITING) if n not in held])
            if proposal is not None:
                empty_since, pause = time.monotonic(), _WAIT
                claim = self._take(view, proposal.number)
                if claim is not None:
                    return claim, proposal
            elif time.monotonic() - empty_since > self.orders.grace:
                return None
            else:
                time.sleep(min(pause, self.orders.grace / 20))
                pause = min(2 * pause, _WAIT_MOST)
        return None

    def _choose(self, waiting: list[int]) -> Proposal | None:
        """The next point, read before it is claimed: it may be listed and not be readable yet."""
        if not waiting:
            return None
        number = random.choice(waiting[: _CROWD if self.orders.n_workers > _CROWD else 1])
        return files.patiently(lambda: self.folder.proposal(number))

    def _take(self, view: View, number: int) -> Claim | None:
        claim = self.slot.claim(number, view.claims.get(number, 0) + 1)
        if not files.patiently(lambda: self.folder.claim(claim)):
            return None
        # The listing may be old: the trial may have ended elsewhere before we claimed it.
        return claim if files.patiently(self.folder.look).holds(claim) else None

    def _try(self, claim: Claim, proposal: Proposal) -> None:
        attempt = Attempt(
            self.folder, claim, self.leaving, self.slot.deadline, self._start_from(proposal),
            rungs=self._rungs(proposal),
        )  # fmt: skip
        params = {**self.orders.fixed, **proposal.params}
        with attempt.watched():
            result = outcome(attempt, proposal, params, self._function, self._data)
        if result is None:
            return
        # A late result of an attempt that was given up for dead is as good as another's; only
        # one is accepted, and a trial that has it keeps the weights it has.
        if claim.number in files.patiently(self.folder.look).finished:
            return
        if result.state is State.COMPLETE:
            attempt.keep_weights()
        files.patiently(lambda: self.folder.publish(result))
        if result.state is State.FAIL:
            _prove_device(self.orders.device)  # some CUDA errors spoil all that comes after

    def _rungs(self, proposal: Proposal) -> Rungs | None:
        """Where a trial may be pruned: not what the study's author or the report asked for."""
        asked_for = proposal.origin in (ENQUEUED, BY_HAND) or proposal.part != SEARCH
        return None if asked_for else self.orders.rungs

    def _start_from(self, proposal: Proposal) -> Path | None:
        """The winner's finished checkpoint, for a part that trains just what the search trained."""
        if proposal.of is None or self._data is None:
            return None
        same = self._data.resumes_search(proposal.part)
        return self.folder.kept(proposal.of) if same else None


def resolve(name: str) -> Train:
    """The training function that a study names; raises ImportError, AttributeError."""
    module, _, function = name.partition(":")
    found: Train = getattr(importlib.import_module(module), function)
    return found


def _prove_device(device: str) -> None:
    """Use the device once; raises RuntimeError where torch cannot use the GPU that was given.

    Training on the CPU of a GPU allocation would burn the budget at a tiny part of its speed.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if device == "cpu" or not given:
        return
    import torch  # noqa: PLC0415 - seconds, which a job without a GPU need not pay

    if not torch.cuda.is_available():
        raise RuntimeError(
            f"this node gave the job GPU {given}, but torch {torch.__version__} sees none: "
            'install a CUDA build of torch, or set device = "cpu" in [jobs]'
        )
    torch.cuda.empty_cache()  # what a trial that ran out of memory still holds
    torch.zeros(1, device="cuda").sum().item()


def _submitted(folder: RunFolder, submission: str) -> float:
    """When a submission to Slurm was; 0 where it has no note, as a local one has none yet."""
    if not submission.startswith("slurm-"):
        return 0.0
    note = files.patiently(lambda: files.read(folder.jobs / submission / NOTE))
    return float((note or {}).get("time", 0.0))


def work(run: str, submission: str = "") -> None:
    """Train a run's trials in this process; what submitit and the local executor call.

    Writes how it ended to jobs/<submission>/<process>.end.json. Raises what kept the slot from
    working at all: no trial is touched then.
    """
    folder = RunFolder(Path(run))
    files.patiently(lambda: trust.check_run(folder.path))
    os.umask(doors.umask(folder.path))
    leaving = Leaving()
    here = Slot.here(submission, _submitted(folder, submission))
    leaving.deadline = here.deadline
    note = folder.jobs / (submission or "inline") / f"{here.host}-{os.getpid()}"
    files.make_folder(note.parent)
    end: dict[str, Any] = {"job": here.job, "host": here.host, "device": here.device}
    try:
        orders = Orders.read(folder)
        if orders.device == "cpu":
            os.environ["TUNER_DEVICE"] = "cpu"
        _prove_device(orders.device)
        worker = Worker(folder, orders, here, leaving)
        ready = note.with_name(note.name + READY)
        files.patiently(lambda: files.write_once(ready, {"time": time.time()}))
        end |= {"reason": worker.run(), "trials": worker.finished}
    except BaseException:
        end |= {"error": traceback.format_exc()[-LOG_TAIL:], "trials": 0}
        raise
    finally:
        path, end = note.with_name(note.name + END), end | {"time": time.time()}
        files.patiently(lambda: files.write_once(path, end), lambda: time.time() > here.deadline)


def main() -> None:
    """`python -m jobs.worker RUN [--submission NAME]`: one worker in this process."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run")
    parser.add_argument("--submission", default="")
    arguments = parser.parse_args()
    work(arguments.run, arguments.submission)


if __name__ == "__main__":
    main()
