"""How a run went, as figures: each a function from a study and its trials."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from jobs.contract import State
from tuner import confirm
from tuner.confirm import best, loss, winner
from tuner.results import best_so_far, chosen_epoch, metric, searched
from tuner.study import Study
from tuner.style import BLUE, INK, MARKS, NOTHING, ORANGE, PALE, RED, TOO_FEW, empty, shortened
from tuner.trial import Trial

Array = NDArray[Any]
_MANY = 100  # trials from which their marks are small
_FENCES = 3.0  # quartile distances from the quartiles (Tukey's outer fences) that are shown
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


def process(study: Study, trials: Sequence[Trial]) -> Figure:
    """Every trial's value over its number, and the best so far."""
    rows = searched(trials)
    won = winner(study, trials)
    if won is None:
        return empty(NOTHING)
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    ax = figure.subplots()
    values = np.array([value_of(study, t) for t in rows])
    numbers = np.array([t.number for t in rows])
    complete, pruned, failed = (
        np.array([t.state is state for t in rows])
        for state in (State.COMPLETE, State.PRUNED, State.FAIL)
    )
    reached = study.sign * loss(study, won)
    low, high = fences(values[(complete | pruned) & np.isfinite(values)], reached)
    off = complete & ((values < low) | (values > high))
    values = np.clip(values, low, high)
    size = 34 if len(rows) <= _MANY else 14
    many = len(rows) > MARKS
    blue: dict[str, Any] = {"s": size, "zorder": 3, "color": BLUE, "rasterized": many}
    open_: dict[str, Any] = {"s": size, "zorder": 3, "rasterized": many, "fc": "none", "ec": ORANGE}
    ax.axvspan(-0.5, study.n_initial - 0.5, color=PALE, lw=0, zorder=0, label="initial points")
    plain = complete & ~off
    ax.scatter(numbers[plain], values[plain], alpha=0.55, lw=0, label="complete", **blue)
    beyond = "^" if study.direction == "minimize" else "v"
    _scatter(ax, numbers[off], values[off], "off the scale", marker=beyond, **blue)
    _scatter(ax, numbers[pruned], values[pruned], "pruned", marker="D", **open_)
    floor = np.zeros(int(failed.sum()))  # a failure has no value: it stands on the axis
    _scatter(
        ax, numbers[failed], floor, "failed", s=size, marker="x", color=RED, clip_on=False,
        transform=ax.get_xaxis_transform(), zorder=3,
    )  # fmt: skip
    ax.step(numbers, best_so_far(study, rows), color=INK, lw=1.4, where="post", label="best so far")
    label = f"{_word(study, trials)}: {reached:.4g} in trial {won.number}"
    star: dict[str, Any] = {"s": 190, "color": RED, "ec": "white", "zorder": 4}
    ax.scatter([won.number], [reached], marker="*", label=label, **star)
    ax.set(xlabel="trial", ylabel=_value_name(study), xlim=(-0.5, max(1, numbers[-1]) + 0.5))
    ax.set_title(f"{shortened(study.name)}: what each trial reached", pad=10)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=7, columnspacing=1.2, handletextpad=0.4)
    return figure


def convergence(study: Study, trials: Sequence[Trial]) -> Figure:
    """The best value so far over finished trials, and over the time that the run took."""
    rows = [t for t in searched(trials) if t.state.finished]
    began = min((t.started for t in rows if t.started), default=0.0)
    ended = np.array([(t.started or began) + (t.seconds or 0.0) for t in rows])
    rows = [rows[i] for i in np.argsort(ended, kind="stable")]
    if best(study, rows) is None:
        return empty(NOTHING)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    over_trials, over_time = figure.subplots(1, 2, sharey=True)
    steps = best_so_far(study, rows)
    better = np.flatnonzero(np.isfinite(steps) & np.append(True, steps[1:] != steps[:-1]))
    seconds = np.sort(ended) - began
    unit = next((u for u in reversed(_UNITS) if seconds[-1] > 3 * _UNITS[u]), "seconds")
    over = {over_trials: np.arange(1, len(rows) + 1), over_time: seconds / _UNITS[unit]}
    for ax, x in over.items():
        ax.step(x, steps, color=BLUE, lw=1.8, where="post")
        ax.scatter(x[better], steps[better], s=26, color=BLUE, zorder=3, clip_on=False)
        ax.margins(x=0.03, y=0.08)
    over_trials.set(xlabel="finished trials", ylabel=f"best {_value_name(study)} so far")
    over_trials.xaxis.set_major_locator(MaxNLocator(integer=True))
    over_time.set(xlabel=f"{unit} since the first trial began", xlim=(0, None))
    reached = f"{steps[-1]:.4g} after {better[-1] + 1} of {len(rows)} trials"
    over_trials.set_title(f"{shortened(study.name)}: {reached}", pad=10)
    return figure


def confirming(study: Study, trials: Sequence[Trial]) -> Figure:
    """The candidates by their fresh seeds, the best above, beside what the search saw of them."""
    found = confirm.ranking(study, trials)
    if not found:
        return empty("No candidate is confirmed yet.")
    figure = Figure(figsize=(8, 1.7 + 0.42 * len(found)), layout="constrained")
    ax = figure.subplots()
    marks: dict[str, dict[str, Any]] = {
        "one fresh seed": {"s": 22, "color": BLUE, "alpha": 0.6, "lw": 0, "zorder": 4},
        "searched value": {"s": 44, "fc": "none", "ec": ORANGE, "lw": 1.4, "zorder": 4},
    }
    for place, one in enumerate(found):
        ax.scatter(one.values, [place] * len(one.values), **marks["one fresh seed"])
        seen = study.sign * loss(study, one.trial)
        ax.scatter([seen], [place], **marks["searched value"])
        if one.values:
            error = np.nan_to_num(one.error)
            ax.errorbar(
                one.mean, place, xerr=error, fmt="|", color=INK, ms=13, mew=2, capsize=4, zorder=3
            )
    for label, mark in marks.items():
        ax.scatter([], [], label=label, **mark)
    ax.errorbar([], [], xerr=[], fmt="|", color=INK, ms=13, mew=2, label="mean ± standard error")
    names = [f"trial {one.trial.number}{' (failed)' * bool(one.failed)}" for one in found]
    ax.set_yticks(range(len(found)), names)
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=_value_name(study))
    ax.set_title(f"{shortened(study.name)}: the best, trained again with fresh seeds", pad=10)
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2, handletextpad=0.4)
    return figure


def importance(study: Study, shares: Mapping[str, tuple[float, float]], method: str) -> Figure:
    """How much each parameter matters: `shares` are a mean and its error by name."""
    if not shares:
        return empty(TOO_FEW)
    names = sorted(shares, key=lambda name: shares[name][0])
    means, errors = np.array([shares[name] for name in names]).T
    figure = Figure(figsize=(8, 1.3 + 0.36 * len(names)), layout="constrained")
    ax = figure.subplots()
    ax.barh(range(len(names)), means, color=BLUE, height=0.62)
    ax.errorbar(means, range(len(names)), xerr=errors, fmt="none", ecolor=INK, capsize=3)
    ax.set_yticks(range(len(names)), [shortened(name) for name in names])
    ax.grid(axis="y", visible=False)
    ax.set(
        xlabel=method, xlim=(1.1 * min(0, *(means - errors)), None), ylim=(-0.8, len(names) - 0.2)
    )
    ax.set_title(f"{shortened(study.name)}: which parameters matter", pad=10)
    return figure


def _word(study: Study, trials: Sequence[Trial]) -> str:
    """What the starred trial is: with fresh seeds it need not have the best searched value."""
    return "winner" if confirm.confirmed(study, trials) else "best"


def value_of(study: Study, trial: Trial) -> float:
    """A trial's value; of a pruned one without, the best of its epochs; NaN if there is none."""
    if trial.value is not None:
        return trial.value
    return chosen_epoch(study, trial).get(metric(study), np.nan)


def fences(values: Array, winner: float) -> tuple[float, float]:
    """What is shown of the values: all but the far outliers, and always the best."""
    first, third = np.quantile(values, [0.25, 0.75])
    reach = _FENCES * (third - first)
    low, high = max(values.min(), first - reach), min(values.max(), third + reach)
    return min(low, winner), max(high, winner)


def _scatter(ax: Axes, x: Array, y: Array, label: str, **marks: Any) -> None:
    """A scatter that has no entry in the legend when it is empty."""
    if len(x):
        ax.scatter(x, y, label=label, **marks)


def _value_name(study: Study) -> str:
    return shortened(f"validation {metric(study)}")
