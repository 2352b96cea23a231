"""What a model of a search is told: losses without outliers, of a bounded number of trials."""

import math
from collections.abc import Sequence

import numpy as np

from jobs.contract import State
from jobs.reasons import SAYS_NOTHING
from tuner.trial import Trial

MOST = 300  # points in an exact Gaussian process: its cost grows with their cube
_FAILED = 0.9  # the quantile of the finished losses that a failed trial counts as
_SPAN = 3.0  # above the median, in units of (median − best)

Told = list[tuple[Trial, float]]


def robust(trials: Sequence[Trial]) -> Told:
    """Finished trials with their losses; empty while there is no value among them.

    Losses are clipped at median + 3 (median − best), and a failed trial counts as a high quantile;
    one that its user cancelled, or that no node survived, is not told at all.
    A diverged training says "not here" and not "a million times worse": left as it is, it would
    flatten all differences that matter (why Optuna's GPSampler and HEBO transform losses too).
    """
    values = [float(t.value) for t in trials if t.value is not None and has_value(t)]
    if not values:
        return []
    median, best = float(np.median(values)), min(values)
    cap = median + _SPAN * (median - best) if median > best else max(values)
    failed = float(np.quantile(np.minimum(values, cap), _FAILED))
    return [(t, _loss(t, cap, failed)) for t in trials if t.state.finished and not _excused(t)]


def bounded(told: Told) -> Told:
    """At most MOST of them in the order of their numbers: the best third, and the newest others."""
    if len(told) <= MOST:
        return told
    ranked = sorted(told, key=lambda pair: (pair[1], pair[0].number))
    best, others = ranked[: MOST // 3], ranked[MOST // 3 :]
    newest = sorted(others, key=lambda pair: pair[0].number)[len(best) - MOST :]
    return sorted(best + newest, key=lambda pair: pair[0].number)


def has_value(trial: Trial) -> bool:
    """Whether a trial ended with a finite value, of which a variance can be computed."""
    ended = trial.state in (State.COMPLETE, State.PRUNED)
    return ended and trial.value is not None and math.isfinite(trial.value * trial.value)


def _excused(trial: Trial) -> bool:
    """Whether a trial failed for a reason that says nothing about its point."""
    return trial.state is State.FAIL and trial.reason in SAYS_NOTHING


def _loss(trial: Trial, cap: float, failed: float) -> float:
    return min(trial.value, cap) if trial.value is not None and has_value(trial) else failed
