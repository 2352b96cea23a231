"""From a proposal to its outcome: what a training function returned, raised or was stopped by."""

import io
import math
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from jobs import files, logs, slurm
from jobs.attempt import Attempt, Ending
from jobs.contract import Lost, Proposal, Result, State, trains_the_search
from jobs.folder import RunFolder
from jobs.reasons import CANCELLED, WITH_STUDY
from models.data import Dataset
from models.protocols import Checkpoint, Report, Stop

_MOMENT = 2.0  # seconds in which a controller that is cancelled too says so; Slurm kills after 30


class Train(Protocol):
    """A training function: ours, or a user's own `package.module:function`."""

    def __call__(
        self,
        params: Mapping[str, Any],
        data: Dataset | None,
        report: Report,
        checkpoint: Checkpoint,
        seed: int,
        /,
    ) -> float:
        """Train one point; returns its value, to be minimised or maximised by the study."""


def outcome(
    attempt: Attempt,
    proposal: Proposal,
    params: Mapping[str, Any],
    train: Train,
    data: Dataset | None,
) -> Result | None:
    """Train an attempt at a proposal; None where its trial goes on, or ended, elsewhere.

    Only an exception out of the training function is FAIL; a crash is never a score.
    """
    started = time.time()
    try:
        value, metrics = _train(attempt, proposal, params, train, data)
    except Stop:
        return _stopped(attempt, proposal, started)
    except Exception as error:
        trace = traceback.format_exc()
        print(trace, file=sys.stderr, flush=True)
        log = logs.tail(attempt.folder, attempt.claim, last=trace)
        return _result(attempt, proposal, started, State.FAIL, reason=_reason(error), log=log)
    if not math.isfinite(value):
        reason = f"the value is {value}"
        return _result(attempt, proposal, started, State.FAIL, reason=reason)
    return _result(attempt, proposal, started, State.COMPLETE, value=value, metrics=metrics)


def _train(
    attempt: Attempt,
    proposal: Proposal,
    params: Mapping[str, Any],
    train: Train,
    data: Dataset | None,
) -> tuple[float, Mapping[str, float]]:
    if trains_the_search(proposal.part):
        return _number(train(params, data, attempt.report, attempt, proposal.seed)), {}
    assert data is not None  # only data with a test part gets such a proposal
    from models.train import evaluate  # noqa: PLC0415 - torch: a user's own function may not need it

    found = evaluate(params, data, attempt.report, attempt, proposal.seed, proposal.part)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, truth=found.truth, prediction=found.prediction, index=found.index)
    path = attempt.folder.predictions(proposal.number)
    files.patiently(lambda: files.replace(path, buffer.getvalue()))
    return found.value, found.metrics


def _number(value: Any) -> float:
    """What a training function returned; raises TypeError where it is no number."""
    if value is None or isinstance(value, (str, bytes, bool)):
        raise TypeError(f"the training function returned {value!r} and not the trial's value")
    return float(value)


def _stopped(attempt: Attempt, proposal: Proposal, started: float) -> Result | None:
    if attempt.ending is Ending.PRUNED:
        value, why = attempt.reached(), attempt.why
        return _result(attempt, proposal, started, State.PRUNED, value=value, reason=why)
    return _released(attempt, proposal, started) if attempt.ending is Ending.RELEASED else None


def _released(attempt: Attempt, proposal: Proposal, started: float) -> Result | None:
    """Hand the trial back, with this epoch saved; what its user cancelled ends as FAIL.

    Whoever cancels the study, or its jobs while no controller is at work, gives up no trial.

    scancel, preemption and requeueing are all SIGTERM here: accounting tells them apart. Where
    there is none, the claim stays, and the controller learns from the queue how the job ended.
    """
    claim, why = attempt.claim, attempt.why
    if why == "SIGTERM" and claim.submission.startswith("slurm-"):
        why = slurm.ended_as(claim.job, claim.restart)
    if why == CANCELLED:
        if _stays_attended(attempt.folder):
            return _result(attempt, proposal, started, State.FAIL, reason=why)
        why = WITH_STUDY
    if why:
        now = time.time()
        lost = Lost(claim.number, claim.attempt, why, "worker", now, seconds=now - claim.time)
        files.patiently(lambda: attempt.folder.lose(lost))
    return None


def _stays_attended(folder: RunFolder) -> bool:
    """Whether a controller is at work and wants to go on; who cancels all jobs ends it as well."""
    end = time.monotonic() + _MOMENT
    while there := files.patiently(lambda: folder.attended() and not folder.stopping()):
        if time.monotonic() >= end:
            break
        time.sleep(0.5)
    return there


def _result(
    attempt: Attempt, proposal: Proposal, started: float, state: State, **more: Any
) -> Result:
    times = {"started": started, "seconds": time.time() - started}
    before = attempt.folder.before(proposal.number, attempt.claim.attempt)
    more |= {"curve": attempt.curve(), **before}
    return Result.of_attempt(proposal, attempt.claim, state, **times, **more)


def _reason(error: Exception) -> str:
    if type(error).__name__ == "OutOfMemoryError":  # of a user's own function
        return "CUDA out of memory"
    return f"{type(error).__name__}: {error}".splitlines()[0]
