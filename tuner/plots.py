"""How a run went, as figures: each a function from a study and its trials."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from jobs.contract import State
from tuner.results import best, loss, metric, searched
from tuner.style import BLUE, GREY, INK, ORANGE, PALE, RED, empty, shortened
from tuner.study import Study
from tuner.trial import Trial

Array = NDArray[Any]
NOTHING = "No trial is complete yet."
_MANY = 100  # trials from which their marks are small
_FENCES = 3.0  # quartile distances from the quartiles (Tukey's outer fences) that are shown
_UNITS = (("seconds", 1, 180), ("minutes", 60, 180 * 60), ("hours", 3600, 1e6), ("days", 86400, np.inf))


def process(study: Study, trials: Sequence[Trial]) -> Figure:
    """Every trial's value over its number, and the best so far."""
    rows = searched(trials)
    winner = best(study, rows)
    if winner is None:
        return empty(NOTHING)
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    ax = figure.subplots()
    values, numbers = _values(rows), np.array([t.number for t in rows])
    complete, pruned, failed = (
        np.array([t.state is state for t in rows])
        for state in (State.COMPLETE, State.PRUNED, State.FAIL)
    )
    low, high = _fences(values[complete], winner.value)
    off = complete & ((values < low) | (values > high))
    values = np.clip(values, low, high)
    size = 34 if len(rows) <= _MANY else 14
    marks: dict[str, Any] = {"s": size, "zorder": 3}
    ax.axvspan(-0.5, study.n_initial - 0.5, color=PALE, lw=0, zorder=0, label="initial points")
    plain = complete & ~off
    ax.scatter(numbers[plain], values[plain], color=BLUE, alpha=0.55, lw=0, label="complete", **marks)
    beyond = "^" if study.direction == "minimize" else "v"
    _scatter(ax, numbers[off], values[off], "off the scale", marker=beyond, color=BLUE, **marks)
    _scatter(ax, numbers[pruned], values[pruned], "pruned", marker="D", fc="none", ec=ORANGE, **marks)
    floor = np.zeros(int(failed.sum()))  # a failure has no value: it stands on the axis
    _scatter(
        ax, numbers[failed], floor, "failed", marker="x", color=RED, clip_on=False,
        transform=ax.get_xaxis_transform(), **marks,
    )  # fmt: skip
    ax.step(numbers, best_so_far(study, rows), color=INK, lw=1.4, where="post", label="best so far")
    star: dict[str, Any] = {"s": 190, "color": RED, "ec": "white", "zorder": 4}
    ax.scatter([winner.number], [winner.value], marker="*", label=_named(winner), **star)
    ax.set(xlabel="trial", ylabel=_value_name(study), xlim=(-0.5, max(1, numbers[-1]) + 0.5))
    ax.set_title(f"{shortened(study.name)}: what each trial reached", pad=10)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=7, columnspacing=1.2, handletextpad=0.4)
    return figure


def convergence(study: Study, trials: Sequence[Trial]) -> Figure:
    """The best value so far over finished trials, and over the time that the run took."""
    rows = sorted((t for t in searched(trials) if t.state.finished), key=_ended)
    if best(study, rows) is None:
        return empty(NOTHING)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    over_trials, over_time = figure.subplots(1, 2, sharey=True)
    steps = best_so_far(study, rows)
    better = np.flatnonzero(np.diff(np.nan_to_num(steps), prepend=0))
    seconds = np.array([_ended(t) for t in rows]) - min(t.started or 0.0 for t in rows)
    unit, size = next((name, size) for name, size, most in _UNITS if seconds[-1] <= most)
    for ax, x in ((over_trials, np.arange(1, len(rows) + 1)), (over_time, seconds / size)):
        ax.step(x, steps, color=BLUE, lw=1.8, where="post")
        ax.scatter(x[better], steps[better], s=26, color=BLUE, zorder=3)
        ax.margins(x=0.03, y=0.08)
    over_trials.set(xlabel="finished trials", ylabel=f"best {_value_name(study)} so far")
    over_trials.xaxis.set_major_locator(MaxNLocator(integer=True))
    over_time.set(xlabel=f"{unit} since the first trial began")
    last = int(better[-1]) + 1
    over_trials.set_title(f"{shortened(study.name)}: {steps[-1]:.4g} after {last} of {len(rows)} trials", pad=10)
    return figure


def importance(study: Study, shares: Mapping[str, tuple[float, float]], method: str) -> Figure:
    """How much each parameter matters: `shares` are a mean and its standard error by name."""
    if not shares:
        return empty("Too few trials are complete to tell which parameters matter.")
    names = sorted(shares, key=lambda name: shares[name][0])
    means, errors = np.array([shares[name] for name in names]).T
    figure = Figure(figsize=(8, 1.3 + 0.36 * len(names)), layout="constrained")
    ax = figure.subplots()
    ax.barh(range(len(names)), means, color=BLUE, height=0.62)
    ax.errorbar(means, range(len(names)), xerr=errors, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    ax.set_yticks(range(len(names)), [shortened(name) for name in names])
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=method, xlim=(min(0, *(means - errors)), None))
    ax.set_title(f"{shortened(study.name)}: which parameters matter", pad=10)
    return figure


def best_so_far(study: Study, rows: Sequence[Trial]) -> Array:
    """The best value among each trial and those before it, (trial,); NaN before the first."""
    losses = [loss(study, t) for t in rows]
    return study.sign * np.fmin.accumulate(losses)


def _values(rows: Sequence[Trial]) -> Array:
    return np.array([np.nan if t.value is None else t.value for t in rows])


def _fences(values: Array, winner: float | None) -> tuple[float, float]:
    """What is shown of the values: all but the far outliers, and always the best."""
    first, third = np.quantile(values, [0.25, 0.75])
    reach = _FENCES * (third - first)
    low, high = max(values.min(), first - reach), min(values.max(), third + reach)
    kept = [low, high] if winner is None else [low, high, winner]
    return float(min(kept)), float(max(kept))


def _scatter(ax: Axes, x: Array, y: Array, label: str, **marks: Any) -> None:
    """A scatter that has no entry in the legend when it is empty."""
    if len(x):
        ax.scatter(x, y, label=label, **marks)


def _ended(trial: Trial) -> float:
    return (trial.started or 0.0) + (trial.seconds or 0.0)


def _named(trial: Trial) -> str:
    return f"best: {trial.value:.4g} in trial {trial.number}"


def _value_name(study: Study) -> str:
    return shortened(f"validation {metric(study)}")
