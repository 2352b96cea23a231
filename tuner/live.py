"""What a run is doing at this moment, from its files alone: for status, and never in its way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs import files, rungs
from jobs.contract import SEARCH, State
from tuner.store import Store
from tuner.study import Study
from tuner.trial import Trial

_SHOWN = 16  # running trials whose curves are read: each is a file
_WINDOW = 3600.0  # seconds over which the slots' use is counted
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 20  # epochs of a curve that are drawn


@dataclass(frozen=True, slots=True)
class Running:
    """A trial that is trained now; `curve` (epoch,) are its values of the study's metric."""

    number: int
    host: str
    seconds: float
    epochs: int
    of: int | None  # None: the study does not say how many
    curve: tuple[float, ...]


def running(store: Store, trials: Sequence[Trial], now: float) -> list[Running]:
    """The running trials, oldest first, as far as they fit on a screen."""
    alive = sorted((t for t in trials if t.state is State.RUNNING), key=lambda t: t.number)
    return [_running(store, trial, now) for trial in alive[:_SHOWN]]


def busy(study: Study, trials: Sequence[Trial], now: float) -> float | None:
    """The share of the slots' time in which a trial was trained, over the last hour.

    Of a run that is younger, since its first trial began; None before that.
    """
    spans = [
        (t.started, now if t.state is State.RUNNING else t.started + (t.seconds or 0.0))
        for t in trials
        if t.started is not None
    ]
    if not spans:
        return None
    since = max(now - _WINDOW, min(start for start, _ in spans))
    used = sum(max(0.0, end - max(start, since)) for start, end in spans)
    there = study.jobs.n_workers * (now - since)
    return min(1.0, used / there) if there > 0 else None


def seconds_left(study: Study, trials: Sequence[Trial]) -> float | None:
    """How long the search will go on if trials take as long, and as many run at once."""
    search = [t for t in trials if t.part == SEARCH]
    took = [t.seconds for t in search if t.seconds]
    at_once = sum(t.state is State.RUNNING for t in search)
    todo = study.n_trials - sum(t.state.finished for t in search)
    if not took or not at_once or todo <= 0:
        return None
    return todo * sum(took) / len(took) / at_once


def bars(values: Sequence[float]) -> str:
    """A curve as a line of bars, from its lowest value to its highest."""
    shown = values[-_WIDTH:]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in shown)


def _running(store: Store, trial: Trial, now: float) -> Running:
    path = store.folder.of(trial.number, "metrics", trial.attempts)
    curve = {int(line["step"]): line for line in files.read_lines(path)}
    known = {**rungs.fixed(store.study.to_table()), **trial.params}
    return Running(
        number=trial.number,
        host=trial.host,
        seconds=now - (trial.started or now),
        epochs=1 + max(curve, default=-1),
        of=most if isinstance(most := known.get("epochs"), int) else None,
        curve=_values(str(known.get("metric")), [curve[step] for step in sorted(curve)]),
    )


def _values(metric: str, curve: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """The study's metric over the epochs; where none is reported the first thing that is."""
    names = [name for name in (curve[0] if curve else ()) if name not in ("step", "time")]
    name = metric if metric in names else next(iter(names), "")
    return tuple(float(epoch[name]) for epoch in curve if epoch.get(name) is not None)
